//! `demo down`.

use std::{fs, time::Duration};

use anyhow::{Context as _, Result, bail};

use crate::{State, host::Traces, objects, stage};

/// Takes the demo away: through the API first, so that the provider removes what it made on the host.
pub(crate) fn down(state: &State) -> Result<()> {
    if !state.folder.exists() {
        println!("demo: nothing is there");
        return Ok(());
    }
    let traces = delete_objects(state)?;
    stage::stop(state)?;
    state.say("processes ended");
    if let Some(traces) = traces {
        traces.remove_residue();
        let left = traces.left()?;
        if !left.is_empty() {
            bail!("left on the host:\n  {}", left.join("\n  "));
        }
        state.say(&format!(
            "looked for {} domains, networks, pools, files and folders of the demo: none is left",
            traces.count()
        ));
    }
    fs::remove_dir_all(&state.folder).with_context(|| format!("remove {}", state.folder.display()))?;
    state.say("nothing of the demo is left");
    Ok(())
}

/// Deletes what was applied, with the demo's processes started again if the machine was restarted meanwhile. `None` if nothing was.
fn delete_objects(state: &State) -> Result<Option<Traces>> {
    if !state.path("objects.json").exists() {
        return Ok(None);
    }
    let (kubectl, _) = stage::start(state)?;
    let (mut seen, others) = (objects::read(state, &kubectl)?, objects::all_managed(&kubectl)?);
    seen.extend(others);
    let traces = Traces::note(state, &seen)?;
    state.say("deleting the demo's objects");
    objects::delete(state, &kubectl, Duration::from_mins(2))?;
    Ok(Some(traces))
}

//! Volumes that would be made of each other in a circle: each would wait for the others for ever.

use apis::{Managed, Volume};

use crate::{
    cluster::Cluster,
    references::{BACKING, Referent, SOURCE},
};

/// How a volume may be made of another one. A copy that is made needs the other no more, and then there is no such link.
const WAYS: [(&str, &str); 2] = [(BACKING, " stands on "), (SOURCE, " copies ")];

/// Fails where a volume would be made of itself, by way of others or not.
pub(super) fn check(cluster: &Cluster, object: &Volume) -> anyhow::Result<()> {
    let next = |volume: &Volume| {
        let links = cluster.links(volume);
        // Who says both is refused for that.
        let (how, led) = WAYS.iter().find_map(|(path, how)| Some((*how, links.referent(path)?)))?;
        let Referent { kind: _, namespace, name } = led;
        let other = cluster.volumes.get(&namespace, &name)?;
        Some((how, (*other).clone()))
    };
    let Some(way) = around(object, next) else { return Ok(()) };
    anyhow::bail!(
        "the volume would be made of itself: {}. Create one of them anew with another spec.forProvider.backingStore or source, or without",
        way.concat()
    )
}

/// The names on the way from a volume to itself, with words between them. None where it does not get there: who is made of what is in a
/// circle waits for that.
fn around(object: &Volume, next: impl Fn(&Volume) -> Option<(&'static str, Volume)>) -> Option<Vec<String>> {
    let mut way = vec![object.full_name()];
    let mut other = next(object);
    while let Some((how, volume)) = other {
        let name = volume.full_name();
        let (is_back, was_there) = (way.first() == Some(&name), way.contains(&name));
        way.extend([how.to_owned(), name]);
        if was_there {
            return is_back.then_some(way);
        }
        other = next(&volume);
    }
    None
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn volume(name: &str) -> Volume {
        serde_json::from_value(json!({
            "apiVersion": "libvirt.m.nourspeed.io/v1alpha1", "kind": "Volume",
            "metadata": {"namespace": "n", "name": name}, "spec": {"forProvider": {}},
        }))
        .unwrap()
    }

    #[test]
    fn a_circle_is_told_by_those_who_are_in_it_alone() {
        let of = |start: &str, table: &[(&str, &'static str, &str)]| {
            let next = |above: &Volume| {
                let (_, how, below) = table.iter().find(|(name, ..)| format!("n/{name}") == above.full_name())?;
                Some((*how, volume(below)))
            };
            around(&volume(start), next).map(|way| way.concat())
        };
        let round = [("a", " on ", "b"), ("b", " of ", "c"), ("c", " on ", "a"), ("above", " of ", "a")];
        assert_eq!(of("a", &round).as_deref(), Some("n/a on n/b of n/c on n/a"));
        assert_eq!(of("b", &round).as_deref(), Some("n/b of n/c on n/a on n/b"));
        assert_eq!(of("above", &round), None);
        assert_eq!(of("own", &[("own", " of ", "own")]).as_deref(), Some("n/own of n/own"));
        assert_eq!(of("a", &[("a", " on ", "b"), ("b", " of ", "c")]), None);
    }
}

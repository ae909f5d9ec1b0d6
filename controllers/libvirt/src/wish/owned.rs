//! The paths a wish tree owns, and the wish that those it once owned be gone.
//!
//! Without this, a value taken out of a spec would stay on the host for ever, and two equal specs make two machines.

use super::{Form, Part, Path, Wish, Wishes};

impl Wishes {
    /// The paths these wishes own, sorted: what a kind records at an apply and hands to [`Wishes::forget`] at the next.
    ///
    /// Absences and kept items are not owned: there is nothing to give back.
    pub fn owned_paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.part.owned(&Path::default(), &mut paths);
        paths.sort();
        paths.dedup();
        paths
    }

    /// Wishes that every path of the last apply which is wished no more be absent, so that libvirt's default returns.
    ///
    /// A path that cannot be read, lies in a kept or exactly wished element, or is wished still is left alone.
    pub fn forget(&mut self, previous: &[String]) {
        let mut previous: Vec<Path> = previous.iter().filter_map(|text| Path::parse(text)).collect();
        previous.sort(); // An item before what is in it.
        for path in previous {
            if !self.part.covers(&path) {
                self.part.forbid(&path);
            }
        }
    }
}

impl Part {
    fn owned(&self, here: &Path, paths: &mut Vec<String>) {
        for (name, _) in self.attributes.iter().filter(|(_, value)| value.is_some()) {
            paths.push(here.at(name).to_string());
        }
        if self.text.is_some() || self.present {
            paths.push(here.to_string());
        }
        for wish in &self.children {
            wish.owned(&here.child(&wish.name, wish.key.as_deref()), paths);
        }
    }

    /// Whether something is said already about this place or all around it.
    fn covers(&self, path: &Path) -> bool {
        let Some((first, rest)) = path.steps.split_first() else {
            return path.attribute.as_ref().is_none_or(|name| self.attributes.contains_key(name));
        };
        let Some(wish) = self.children.iter().find(|wish| wish.name == first.name && wish.key == first.key) else {
            return false;
        };
        match &wish.form {
            Form::Part(part) => part.covers(&Path { steps: rest.to_vec(), attribute: path.attribute.clone() }),
            Form::Whole(_) | Form::Absent | Form::Kept => true,
        }
    }
}

impl Wish {
    fn owned(&self, here: &Path, paths: &mut Vec<String>) {
        match &self.form {
            Form::Part(part) => {
                let before = paths.len();
                part.owned(here, paths);
                // An item that is there for others is not ours because something of it is to go.
                if self.key.is_some() && paths.len() > before {
                    paths.push(here.to_string());
                }
            }
            Form::Whole(_) => paths.push(here.to_string()),
            Form::Absent | Form::Kept => {}
        }
    }
}

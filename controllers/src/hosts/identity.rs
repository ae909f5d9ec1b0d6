//! Whether a host is the one that it was.

use apis::provider_config::HostObservation;

/// What says that a host is another one than was seen before, unless it is accepted. Boards are shipped with the same UUID, so the name
/// counts too, but for its domain: whether a host knows that depends on its resolver.
pub(super) fn another(before: &HostObservation, (uuid, name): (&str, &str), accepted: Option<&str>) -> Option<String> {
    const NOTHING: &str = "nothing is made, changed or deleted there";
    const CURE: &str = "Correct spec.uri, or confirm the new host with spec.acceptHost:";
    let own = short(name);
    if before.uuid.is_empty() {
        let is_meant = |accepted: &str| accepted == uuid || short(accepted) == own;
        return accepted.filter(|accepted| !is_meant(accepted)).map(|accepted| {
            format!(
                "leads to the host {name} with UUID {uuid}, and spec.acceptHost says {accepted}; {NOTHING}. Correct spec.uri or spec.acceptHost"
            )
        });
    }
    if before.uuid != uuid {
        let was = &before.uuid;
        let said = format!(
            "led to the host with UUID {was} before and leads to the one with UUID {uuid} now; {NOTHING}. {CURE} {uuid}"
        );
        return (accepted != Some(uuid)).then_some(said);
    }
    let was = short(&before.hostname);
    let is_known = |name: &str| !name.is_empty() && name != "localhost";
    if own == was || !is_known(&own) || !is_known(&was) {
        return None;
    }
    let said = format!(
        "led to the host {was} before and leads to {own} now, which has the same UUID, as boards of one series may have; {NOTHING}. {CURE} {own}"
    );
    (accepted.map(short) != Some(own)).then_some(said)
}

/// A host's name without its domain.
fn short(name: &str) -> String {
    name.split('.').next().unwrap_or_default().to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(uuid: &str, hostname: &str) -> HostObservation {
        HostObservation { uuid: uuid.to_owned(), hostname: hostname.to_owned(), ..HostObservation::default() }
    }

    #[test]
    fn a_host_is_told_by_its_uuid_and_its_name_and_another_one_is_accepted_by_what_tells_it() {
        let is_another = |before: (&str, &str), after: (&str, &str), accepted: Option<&str>| {
            another(&seen(before.0, before.1), after, accepted).is_some()
        };
        let (one, other) = (("1", "rack1.example.org"), ("2", "rack2.example.org"));
        assert!(!is_another(one, one, None));
        assert!(is_another(one, other, None));
        assert!(!is_another(one, other, Some("2")));
        assert!(is_another(one, other, Some("1")));
        assert!(is_another(one, ("1", "rack2"), None), "boards of one series");
        assert!(is_another(one, ("1", "rack2"), Some("1")), "which does not tell them apart");
        assert!(!is_another(one, ("1", "rack2"), Some("rack2")));
        for same in ["rack1", "RACK1.example.net", "localhost", "localhost.localdomain", ""] {
            assert!(!is_another(one, ("1", same), None), "{same}");
        }
        let never = ("", "");
        assert!(!is_another(never, one, None), "it was never seen");
        assert!(!is_another(never, one, Some("1")) && !is_another(never, one, Some("rack1")));
        assert!(
            is_another(never, one, Some("2")) && is_another(never, one, Some("rack2")),
            "it is not the one that is meant"
        );
    }
}

//! What is not done without the user, in the words of the spec, with the cure.

use apis::domain::DomainParameters;
use libvirt::{
    diff::Difference,
    rule::{Refusal as Rule, Route},
};
use managed::external::Refusal;

use super::fields;

/// One refusal of all differences that are refused; else why Networks do not keep addresses that interfaces ask for.
pub(super) fn refusal(refused: &[Difference], parameters: &DomainParameters, addresses: &[String]) -> Option<Refusal> {
    let Some(first) = refused.first() else {
        let message = addresses.join("; ");
        return (!addresses.is_empty()).then_some(Refusal { reason: "AddressRefused", message });
    };
    let all: Vec<String> = refused.iter().map(|one| told(one, parameters)).collect();
    Some(Refusal { reason: reason(first.route), message: all.join("; ") + cure(first.route) })
}

/// What to do about what is refused.
fn cure(route: Route) -> &'static str {
    match route {
        Route::Refused(Rule::DiskSourceChanged) => {
            ". A disk keeps its data: take the change back, or add a disk of another name"
        }
        Route::Immutable | Route::Live(_) | Route::NextBoot | Route::Definition => "",
    }
}

/// What is refused, in the words of the spec.
fn told(refused: &Difference, parameters: &DomainParameters) -> String {
    let (field, shown) = (fields::field(&refused.path, parameters), refused.to_string());
    let shown = shown.strip_prefix(refused.path.as_str()).unwrap_or(&shown).to_owned();
    let by_path = if field == refused.path { String::new() } else { format!(" ({})", refused.path) };
    format!("{field}{by_path}{shown}")
}

fn reason(route: Route) -> &'static str {
    match route {
        Route::Refused(Rule::DiskSourceChanged) => "DiskSourceChanged",
        Route::Immutable | Route::Live(_) | Route::NextBoot | Route::Definition => "UpdateRestricted",
    }
}

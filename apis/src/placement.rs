//! Which host an object is on: the order of the design's §2.2, pure, shared by webhook and controller.

use std::fmt;

use crate::managed::{ConfigKind, Managed, ProviderConfigReference, annotation};

/// A config that is told apart from all others: kind, name and, for a namespaced one, namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConfigId {
    /// The kind of the config.
    pub kind: ConfigKind,
    /// The namespace of a ProviderConfig; empty for a ClusterProviderConfig.
    pub namespace: String,
    /// The name of the config.
    pub name: String,
}

impl ConfigId {
    /// What a reference means to an object of `namespace`.
    pub fn resolve(reference: &ProviderConfigReference, namespace: &str) -> Self {
        let namespace = match reference.kind {
            ConfigKind::ProviderConfig => namespace.to_owned(),
            ConfigKind::ClusterProviderConfig => String::new(),
        };
        Self { kind: reference.kind, namespace, name: reference.name.clone() }
    }

    /// The value of the placement annotation.
    pub fn record(&self) -> String {
        format!("{}/{}", self.kind.as_str(), self.name)
    }
}

impl fmt::Display for ConfigId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            ConfigKind::ProviderConfig => write!(f, "ProviderConfig {}/{}", self.namespace, self.name),
            ConfigKind::ClusterProviderConfig => write!(f, "ClusterProviderConfig {}", self.name),
        }
    }
}

/// Reads `<Kind>/<name>`.
pub fn parse_record(text: &str) -> Result<ProviderConfigReference, String> {
    let wrong = || {
        format!(
            "annotation {} is {text:?}: it must be ProviderConfig/<name> or ClusterProviderConfig/<name>",
            annotation::PLACEMENT
        )
    };
    let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
    let kind = match kind {
        "ProviderConfig" => ConfigKind::ProviderConfig,
        "ClusterProviderConfig" => ConfigKind::ClusterProviderConfig,
        _ => return Err(wrong()),
    };
    if name.is_empty() || name.contains('/') {
        return Err(wrong());
    }
    Ok(ProviderConfigReference { kind, name: name.to_owned() })
}

/// What is known when an object is placed.
#[derive(Debug, Default)]
pub struct Known {
    /// Every config that the object may use: all cluster configs and those of its namespace.
    pub configs: Vec<ConfigId>,
    /// The hosts of the referents that are placed already.
    pub referents: Vec<ConfigId>,
    /// The config named by `--default-provider-config`.
    pub default: Option<ProviderConfigReference>,
}

/// Where an object goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The config.
    pub config: ConfigId,
    /// Whether the object's annotation says so already.
    pub recorded: bool,
    /// A differing `spec.providerConfigRef`, which is not followed.
    pub ignored: Option<ConfigId>,
}

/// The config that an object says itself, and whether its annotation says so: its record, its reference, its annotation.
/// An object that was created carries its record in the annotation, so the annotation is the record once a create was attempted.
pub fn named<K: Managed>(object: &K) -> Result<Option<(ConfigId, bool)>, String> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let annotated = object
        .annotation(annotation::PLACEMENT)
        .map(parse_record)
        .transpose()?
        .map(|r| ConfigId::resolve(&r, namespace));
    Ok(match (annotated, referred(object)) {
        (Some(record), _) if was_placed(object) => Some((record, true)),
        (annotated, Some(wished)) => {
            let recorded = annotated.as_ref() == Some(&wished);
            Some((wished, recorded))
        }
        (Some(annotated), None) => Some((annotated, true)),
        (None, None) => None,
    })
}

/// What `spec.providerConfigRef` names.
fn referred<K: Managed>(object: &K) -> Option<ConfigId> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    object.resource().provider_config_ref.as_ref().map(|reference| ConfigId::resolve(reference, namespace))
}

/// Whether the object's annotation is the record of its placement.
pub fn was_placed<K: Managed>(object: &K) -> bool {
    object.annotation(annotation::CREATE_PENDING).is_some() || has_finalizer(object)
}

/// Places an object: where it says itself, with its referents, on the default, on the only config there is.
pub fn place<K: Managed>(object: &K, known: &Known) -> Result<Placement, String> {
    let namespace = object.meta().namespace.as_deref().unwrap_or_default();
    let (config, recorded) = match named(object)? {
        Some(named) => named,
        None => (unnamed(known, namespace)?, false),
    };
    let ignored = referred(object).filter(|wished| *wished != config);
    Ok(Placement { config, recorded, ignored })
}

/// Whether the object has the provider's finalizer: without it nothing of it is waited for when it is deleted.
pub fn has_finalizer<K: Managed>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == crate::managed::FINALIZER)
}

/// The host of an object that names none.
fn unnamed(known: &Known, namespace: &str) -> Result<ConfigId, String> {
    let mut hosts = known.referents.clone();
    hosts.sort();
    hosts.dedup();
    match hosts.as_slice() {
        [] => {}
        [host] => return Ok(host.clone()),
        [first, second, ..] => {
            return Err(format!(
                "cannot determine placement: its referents are on {first} and on {second}; resources must use the same libvirt instance"
            ));
        }
    }
    let named_default = known.default.as_ref().map(|reference| ConfigId::resolve(reference, namespace));
    let defaults = [ConfigKind::ProviderConfig, ConfigKind::ClusterProviderConfig]
        .map(|kind| ConfigId::resolve(&ProviderConfigReference { kind, name: "default".to_owned() }, namespace));
    if let Some(config) = named_default.into_iter().chain(defaults).find(|config| known.configs.contains(config)) {
        return Ok(config);
    }
    match known.configs.as_slice() {
        [only] => Ok(only.clone()),
        configs => Err(format!(
            "cannot determine placement: {} ProviderConfigs are available; set spec.providerConfigRef or the annotation {}",
            configs.len(),
            annotation::PLACEMENT
        )),
    }
}

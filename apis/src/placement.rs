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

/// Reads the value of the placement annotation.
pub fn parse_record(text: &str) -> Result<ProviderConfigReference, String> {
    parse_reference(text).map_err(|wrong| format!("annotation {} is {text:?}: it {wrong}", annotation::PLACEMENT))
}

/// Reads `<Kind>/<name>`.
pub fn parse_reference(text: &str) -> Result<ProviderConfigReference, &'static str> {
    const WRONG: &str = "must be ProviderConfig/<name> or ClusterProviderConfig/<name>";
    let (kind, name) = text.split_once('/').ok_or(WRONG)?;
    let kind = match kind {
        "ProviderConfig" => ConfigKind::ProviderConfig,
        "ClusterProviderConfig" => ConfigKind::ClusterProviderConfig,
        _ => return Err(WRONG),
    };
    if name.is_empty() || name.contains('/') {
        return Err(WRONG);
    }
    Ok(ProviderConfigReference { kind, name: name.to_owned() })
}

/// An object that another one refers to, and where it is. Of several the order is that of their configs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Neighbour {
    /// The config that it is on.
    pub config: ConfigId,
    /// Its kind.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Neighbour {
    /// What an object of `namespace` calls it.
    fn called(&self, namespace: &str) -> String {
        let Self { config: _, kind, namespace: own, name } = self;
        if own == namespace { format!("{kind} {name}") } else { format!("{kind} {own}/{name}") }
    }
}

/// What is known when an object is placed.
#[derive(Debug, Default)]
pub struct Known {
    /// Every config that the object may use: all cluster configs and those of its namespace.
    pub configs: Vec<ConfigId>,
    /// The referents that are placed already.
    pub referents: Vec<Neighbour>,
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
    /// Who chose it.
    pub choice: Choice,
}

/// Who chose the config of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// The object says it, or said it once.
    Own,
    /// What it refers to is there.
    Referents,
    /// It is the config of objects that name none.
    Default,
    /// There is no other.
    Only,
    /// What the object stands for is on its host already.
    Found,
}

impl Choice {
    /// Why the config was taken; None where the object says so itself.
    pub fn why(self) -> Option<&'static str> {
        match self {
            Self::Own => None,
            Self::Referents => Some("what the object refers to is there"),
            Self::Default => Some("it is the default"),
            Self::Only => Some("there is no other"),
            Self::Found => Some("the object's own is on its host already"),
        }
    }
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
    let (config, recorded, choice) = if let Some((config, recorded)) = named(object)? {
        (config, recorded, Choice::Own)
    } else {
        let (config, choice) = unnamed(known, namespace)?;
        (config, false, choice)
    };
    let ignored = referred(object).filter(|wished| *wished != config);
    Ok(Placement { config, recorded, ignored, choice })
}

/// Where an object is that was placed on this config, whatever its annotation says by now.
pub fn kept<K: Managed>(object: &K, config: ConfigId) -> Placement {
    let ignored = referred(object).filter(|wished| *wished != config);
    Placement { config, recorded: false, ignored, choice: Choice::Own }
}

/// Whether nothing says where an object is to go, though there is more than one host: then the one that has it already counts.
pub fn is_open<K: Managed>(object: &K, known: &Known) -> bool {
    let is_unnamed = named(object).is_ok_and(|named| named.is_none());
    is_unnamed && known.referents.is_empty() && known.configs.len() > 1 && place(object, known).is_err()
}

/// Whether the object has the provider's finalizer: without it nothing of it is waited for when it is deleted.
pub fn has_finalizer<K: Managed>(object: &K) -> bool {
    object.meta().finalizers.iter().flatten().any(|finalizer| finalizer == crate::managed::FINALIZER)
}

/// The host of an object that names none.
fn unnamed(known: &Known, namespace: &str) -> Result<(ConfigId, Choice), String> {
    if let Some(first) = known.referents.iter().min() {
        let apart = known.referents.iter().filter(|other| other.config != first.config);
        let Some(other) = apart.min() else { return Ok((first.config.clone(), Choice::Referents)) };
        return Err(format!(
            "cannot determine placement: {} is on {}, {} on {}; resources must use the same libvirt instance",
            first.called(namespace),
            first.config,
            other.called(namespace),
            other.config
        ));
    }
    let named_default = known.default.as_ref().map(|reference| ConfigId::resolve(reference, namespace));
    let defaults = [ConfigKind::ProviderConfig, ConfigKind::ClusterProviderConfig]
        .map(|kind| ConfigId::resolve(&ProviderConfigReference { kind, name: "default".to_owned() }, namespace));
    if let Some(config) = named_default.into_iter().chain(defaults).find(|config| known.configs.contains(config)) {
        return Ok((config, Choice::Default));
    }
    match known.configs.as_slice() {
        [only] => Ok((only.clone(), Choice::Only)),
        configs => Err(format!(
            "cannot determine placement: {} ProviderConfigs are available; set spec.providerConfigRef or the annotation {}",
            configs.len(),
            annotation::PLACEMENT
        )),
    }
}

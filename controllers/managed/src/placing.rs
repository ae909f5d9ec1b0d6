//! Which host an object is on: the first half of a pass's look outside.

use anyhow::anyhow;
use apis::{
    Managed,
    managed::annotation::PLACEMENT,
    placement::{Choice, ConfigId, Placement, kept, was_placed},
};

use crate::{
    events::Severity,
    external::{Connect, External, Refusal, Retry},
    failure::{Failure, Phase},
    making::identity,
    plan::Policies,
    reconcile::Reconciler,
};

impl<E: External> Reconciler<E> {
    /// The config of an object, as the object, what it refers to, the configs or, last, the hosts say.
    pub(crate) async fn place(&self, object: &E::Managed) -> Result<Placement, Failure> {
        let placed = self.connector.place(object, self.external.neighbours(object));
        if let Some(config) = self.usages.held(object).filter(|_| was_placed(object)) {
            return Ok(match placed {
                Ok(placement) if placement.config == config => placement,
                _ => self.stay(object, config).await,
            });
        }
        let unplaced = match placed {
            Ok(placement) => return Ok(placement),
            Err(message) => message,
        };
        let message = match self.external.search(object).await {
            Ok(Some(config)) => {
                return Ok(Placement { config, recorded: false, ignored: None, choice: Choice::Found });
            }
            Ok(None) => unplaced,
            Err(message) => message,
        };
        Err(Failure::new(Phase::Initialize, anyhow!(message)).retry(Retry::Poll))
    }

    /// Where an object is whose annotation says something else by now, or nothing: it stays, or what was made there would be forgotten. The
    /// annotation is put back with the rest of its metadata.
    async fn stay(&self, object: &E::Managed, config: ConfigId) -> Placement {
        let says = object.annotation(PLACEMENT).map_or_else(|| "is gone".to_owned(), |text| format!("says {text:?}"));
        let message = format!(
            "annotation {PLACEMENT} {says}, but the object is on {config}; it stays there, and the annotation is put back"
        );
        self.record(object, Severity::Warning, "PlacementChanged", &message).await;
        kept(object, config)
    }

    /// The same, and what may be done with the object there: nothing on a host that is left alone, for the reason beside it.
    pub(crate) async fn place_held(
        &self,
        object: &E::Managed,
        policies: Policies,
    ) -> Result<(Placement, Policies, Option<Refusal>), Failure> {
        let placement = self.place(object).await?;
        let hold = self.connector.hold(&placement.config).filter(|_| !policies.only_observes());
        let policies = if hold.is_some() { policies.held() } else { policies };
        Ok((placement, policies, hold))
    }

    /// Writes down where the object is, and what goes with that.
    pub(crate) async fn identify(&self, object: &mut E::Managed, placement: &Placement) -> Result<(), Failure> {
        let missing = identity(object, placement);
        if missing.is_empty() {
            return Ok(());
        }
        self.keep(object, missing).await?;
        self.announce(object, placement).await;
        Ok(())
    }

    /// Tells of a config that was chosen for an object, once it is written down.
    pub(crate) async fn announce(&self, object: &E::Managed, placement: &Placement) {
        let Placement { config, recorded, ignored: _, choice } = placement;
        let Some(why) = choice.why().filter(|_| !recorded) else { return };
        tracing::info!(kind = %<E::Managed as kube::Resource>::kind(&()), object = object.full_name(), %config, why, "assigned a config");
        // That a volume is where its pool is, is no choice, and not worth a write for each object that is made.
        if matches!(choice, Choice::Referents) {
            return;
        }
        let message = format!("Assigned {config}: {why}");
        self.record(object, Severity::Normal, "ProviderConfigAssigned", &message).await;
    }
}

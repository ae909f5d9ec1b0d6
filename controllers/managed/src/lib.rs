//! The generic managed-resource reconciler. It knows Kubernetes and the `apis` crate, and no libvirt.
//!
//! ```text
//! watch, host event, timer ─▶ queue ─▶ worker ─▶ one pass:
//!   1 intent   pure   paused? deleting? policies                      intent
//!   2 place    pure   which host                                      External::neighbours, Connect::place
//!   3 track    kube   the config is in use                            usage
//!   4 connect  cache  the host, or at once that it is away;           Connect::connect
//!              kube   from then on the usage is held                  usage
//!   5 resolve  cache  referents                                       External::resolve
//!   6 find     mirror what the host has                               External::find
//!   7 compare  pure   wishes against found; plan: the step            External::compare, plan
//!   8 expose   kube   the connection Secret, if the object names one  secret
//!   9 act      host   look again, then create, update or delete       External::create …
//!  10 publish  kube   one status patch if anything differs; an event for an action or a failure
//! ```
//!
//! The observable protocol (steps, conditions, events, requeues, annotations, finalizer) is crossplane-runtime's managed reconciler's.
//! A kind implements [`external::External`]; everything else is here.

pub mod backoff;
mod barred;
pub mod creation;
pub mod events;
pub mod external;
pub mod failure;
pub mod gate;
pub mod intent;
pub mod lease;
mod making;
mod outlook;
mod placing;
pub mod plan;
pub mod publish;
pub mod queue;
pub mod rate;
pub mod reconcile;
mod removal;
pub mod run;
mod schema;
pub mod secret;
mod setback;
mod site;
mod unresolved;
pub mod usage;
pub mod vanished;
pub mod watch;

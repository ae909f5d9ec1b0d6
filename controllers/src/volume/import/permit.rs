//! Whether an import may go on: only while this process leads and is not asked to end.

use std::sync::Arc;

use anyhow::Context;
use managed::lease::Term;
use tokio::sync::watch;

/// Whether imports may write to hosts.
pub(super) struct Permit {
    term: Arc<Term>,
    /// Set when this process is to end.
    ended: watch::Sender<bool>,
}

impl Permit {
    /// For as long as this process leads, or until it is told to end.
    pub(super) fn new(term: Arc<Term>) -> Self {
        Self { term, ended: watch::Sender::new(false) }
    }

    /// Nothing is written from now on.
    pub(super) fn end(&self) {
        self.ended.send_replace(true);
    }

    /// Whether this process leads.
    pub(super) fn leads(&self) -> bool {
        self.term.holds()
    }

    /// Whether this process is to end.
    pub(super) fn is_ended(&self) -> bool {
        *self.ended.borrow()
    }

    /// An error when nothing may be written any more.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_ended() && self.leads(), "the import goes on where the next provider leads");
        Ok(())
    }

    /// What comes next, unless nothing may be written any more.
    pub(super) async fn next<T>(&self, coming: impl Future<Output = T>) -> anyhow::Result<T> {
        let mut ended = self.ended.subscribe();
        let next = tokio::select! {
            biased;
            _ = ended.wait_for(|ended| *ended) => None,
            next = coming => Some(next),
        };
        self.check()?;
        next.context("wait for the next piece of the image")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSAL: &str = "the import goes on where the next provider leads";

    fn permit(term: Term) -> Permit {
        Permit::new(Arc::new(term))
    }

    #[tokio::test]
    async fn nothing_is_written_once_another_may_lead_or_this_process_is_to_end() {
        let leading = permit(Term::endless());
        assert_eq!(leading.next(std::future::ready(7)).await.unwrap(), 7);
        let (none_comes, ending) = tokio::join!(leading.next(std::future::pending::<u8>()), async {
            leading.end();
            leading.check()
        });
        assert_eq!([none_comes.map(drop), ending].map(|end| end.unwrap_err().to_string()), [REFUSAL; 2]);
        let followed = permit(Term::over());
        assert_eq!(followed.next(std::future::ready(7)).await.unwrap_err().to_string(), REFUSAL);
    }
}

//! From the queue to a pass, and what is told of it.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use apis::Pool;
use kube::runtime::{reflector, watcher::Event};
use managed::{
    lease::Term,
    plan::Verdict,
    queue::{Queue, Urgency},
    rate::Bucket,
    reconcile::Requeue,
    run::{Observer, Pace, Passed, Runner, Work, key},
    vanished::Vanished,
};

use crate::{fake::Thing, rig::Rig};

/// What was told of passes: the object's name, whether it was the first, and what it found.
#[derive(Default)]
struct Seen(Mutex<Vec<(String, bool, Verdict, Requeue)>>);

impl Observer<Pool> for Seen {
    fn changed(&self, _: &Pool) {}
    fn gone(&self, _: &Pool) {}
    fn listed(&self) {}
    fn passed(&self, object: &Pool, pass: &Passed) {
        let name = object.metadata.name.clone().unwrap();
        self.0.lock().unwrap().push((name, pass.first, pass.verdict, pass.requeue));
    }
}

impl Seen {
    /// What was told since the last time, once so much was.
    async fn next(&self, count: usize) -> Vec<(String, bool, Verdict, Requeue)> {
        while self.0.lock().unwrap().len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

fn pace() -> Pace {
    let hour = Duration::from_hours(1);
    let (rate, term) = (Arc::new(Bucket::new(100)), Arc::new(Term::endless()));
    Pace { poll: hour, least_poll: hour, jitter: 0, sync: hour, workers: 1, rate, term }
}

#[tokio::test]
async fn what_is_in_the_store_is_worked_on_and_nothing_else() {
    let rig = Rig::new();
    let (fake, log) = (rig.fake.clone(), rig.log.clone());
    let pool: Pool = serde_json::from_value(rig.object().unwrap()).unwrap();
    let mut gone = pool.clone();
    gone.metadata.name = Some("gone".to_owned());
    let (store, mut writer) = reflector::store();
    writer.apply_watcher_event(&Event::Apply(pool.clone()));
    let (queue, seen) = (Arc::new(Queue::new()), Arc::new(Seen::default()));
    let work = Work { queue: queue.clone(), vanished: Arc::default() };
    let runner = Runner::new(Arc::new(rig.into_reconciler()), work, store, seen.clone(), pace());
    let work = tokio::spawn(runner.work());

    queue.push(key(&gone), Urgency::Event);
    queue.push(key(&pool), Urgency::Event);
    let made = ("p".to_owned(), true, Verdict::Other, Requeue::Poll);
    assert_eq!(seen.next(1).await, [made]);
    // The copy in the store is older than what was written, and is not gone by.
    log.lock().unwrap().clear();
    queue.push(key(&pool), Urgency::Event);
    assert_eq!(seen.next(1).await, [("p".to_owned(), false, Verdict::Unchanged, Requeue::Poll)]);
    assert_eq!(*log.lock().unwrap(), [""; 0]);
    fake.world().thing = Thing::Drifted;
    queue.push(key(&pool), Urgency::Event);
    assert_eq!(seen.next(1).await, [("p".to_owned(), false, Verdict::Mended, Requeue::Poll)]);
    fake.world().thing = Thing::Drifted;
    fake.world().outcome = Ok(Thing::Drifted);
    queue.push(key(&pool), Urgency::Event);
    let tried = Requeue::After(Duration::from_secs(1));
    assert_eq!(seen.next(1).await, [("p".to_owned(), false, Verdict::Other, tried)], "it did not help");

    writer.apply_watcher_event(&Event::Delete(pool.clone()));
    log.lock().unwrap().clear();
    queue.push(key(&pool), Urgency::Event);
    while queue.load().depth + queue.load().active > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    queue.close();
    work.await.unwrap();
    assert_eq!((seen.0.lock().unwrap().len(), &*log.lock().unwrap()), (0, &vec![]));
}

#[tokio::test(start_paused = true)]
async fn what_was_made_for_an_object_that_vanished_is_taken_away_also_when_that_fails_at_first() {
    let rig = Rig::made().await;
    let (fake, log) = (rig.fake.clone(), rig.log.clone());
    let pool: Pool = serde_json::from_value(rig.object().unwrap()).unwrap();
    let (store, _writer) = reflector::store();
    let (queue, vanished) = (Arc::new(Queue::new()), Arc::new(Vanished::default()));
    let work = Work { queue: queue.clone(), vanished: vanished.clone() };
    let runner = Runner::new(Arc::new(rig.into_reconciler()), work, store, Arc::new(Seen::default()), pace());
    let work = tokio::spawn(runner.work());

    assert!(vanished.note(&key(&pool), &pool));
    let usual = fake.world().deletion;
    fake.world().deletion = |_| anyhow::bail!("the host does not answer");
    queue.push(key(&pool), Urgency::Event);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fake.world().thing, Thing::Settled, "it could not be taken away");
    fake.world().deletion = usual;
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(fake.world().thing, Thing::Absent);
    log.lock().unwrap().clear();
    queue.push(key(&pool), Urgency::Event);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(*log.lock().unwrap(), [""; 0], "and then nobody looks for it");
    queue.close();
    work.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_made_for_an_object_that_vanished_waits_for_a_host_that_is_left_alone_however_long() {
    let rig = Rig::made().await;
    let (fake, log) = (rig.fake.clone(), rig.log.clone());
    let pool: Pool = serde_json::from_value(rig.object().unwrap()).unwrap();
    let (store, _writer) = reflector::store();
    let (queue, vanished) = (Arc::new(Queue::new()), Arc::new(Vanished::default()));
    let work = Work { queue: queue.clone(), vanished: vanished.clone() };
    let runner = Runner::new(Arc::new(rig.into_reconciler()), work, store, Arc::new(Seen::default()), pace());
    let work = tokio::spawn(runner.work());

    fake.world().held = true;
    assert!(vanished.note(&key(&pool), &pool));
    log.lock().unwrap().clear();
    queue.push(key(&pool), Urgency::Event);
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(
        (fake.world().thing, log.lock().unwrap().clone()),
        (Thing::Settled, vec![]),
        "nothing is even asked for"
    );
    fake.world().held = false;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(fake.world().thing, Thing::Absent);

    // What cannot be taken away for other reasons is given up one day.
    fake.world().thing = Thing::Settled;
    let usual = fake.world().deletion;
    fake.world().deletion = |_| anyhow::bail!("the host does not answer");
    assert!(vanished.note(&key(&pool), &pool));
    queue.push(key(&pool), Urgency::Event);
    tokio::time::sleep(Duration::from_hours(2)).await;
    fake.world().deletion = usual;
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert_eq!(fake.world().thing, Thing::Settled);
    queue.close();
    work.await.unwrap();
}

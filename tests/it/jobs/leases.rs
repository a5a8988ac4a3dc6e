//! Leases and their tokens.

use std::slice;

use patchbay::domain::audit::Actor;
use patchbay::domain::job::{Item, ItemEnd, ItemState, Job, JobKind, JobState, KeyChange, Limits};
use patchbay::store::{Fenced, LockError, Store};
use patchbay_clock::Clock;
use sqlx::{AnyConnection, Connection as _};

use crate::database;

#[tokio::test]
async fn a_holder_whose_lease_was_taken_changes_nothing() {
    let (_dir, url) = database::lasting().await;
    let store = Store::open(&url, Clock::system()).await.unwrap();
    let job = Job {
        id: "job".to_owned(),
        kind: JobKind::Keys { change: KeyChange::Block },
        actor: Actor::local("ada"),
        created_by: "ada".to_owned(),
        state: JobState::Running,
        why: None,
        limits: Limits::concurrent(1),
        forgiven: 0,
        holder: None,
        started_at: patchbay_clock::Clock::system().now(),
        ended_at: None,
    };
    let items = [Item::waiting("first", None), Item::waiting("second", None)];
    store.add_job(&job, &items, 20).await.unwrap();
    let old = store.take_lock("job/job", "jobs").await.unwrap();
    store.check(slice::from_ref(&old)).await.unwrap();
    assert_eq!(store.claim_items(&old, &job, 1).await.unwrap().len(), 1);

    // Another replica has had it meanwhile, and has given it back.
    let mut database = AnyConnection::connect(&url).await.unwrap();
    let stolen = "update locks set replica = 'gone', token = token + 1 where name = 'job/job'";
    sqlx::query(stolen).execute(&mut database).await.unwrap();
    assert!(matches!(store.check(slice::from_ref(&old)).await, Err(Fenced::Lost(_))));
    assert!(store.claim_items(&old, &job, 1).await.unwrap().is_empty());
    store.end_item(&old, "job", Some(1), &ItemEnd::done(), &items).await.unwrap();
    store.end_item(&old, "job", None, &ItemEnd::done(), &items).await.unwrap();
    let found = store.job_items("job", None, 0, 10).await.unwrap();
    let states: Vec<_> = found.iter().map(|item| item.state).collect();
    assert_eq!(states, [ItemState::Running, ItemState::Waiting]);

    // The token grows with each holder, also when the lock was given back.
    let new = store.take_lock("job/job", "jobs").await.unwrap();
    assert!(new.token > old.token + 1, "{old:?} {new:?}");
    store.give_lock("job/job").await.unwrap();
    assert!(matches!(store.check(slice::from_ref(&new)).await, Err(Fenced::Lost(_))));
    let newest = store.take_lock("job/job", "jobs").await.unwrap();
    assert!(newest.token > new.token, "{new:?} {newest:?}");
    store.end_item(&newest, "job", Some(1), &ItemEnd::done(), &items).await.unwrap();
    assert_eq!(store.job_items("job", Some(ItemState::Done), 0, 10).await.unwrap().len(), 1);
    assert_eq!(store.job_counts("job").await.unwrap().total(), 4);
}

#[tokio::test]
async fn a_lock_that_a_living_replica_holds_is_not_taken() {
    // With SQLite there is one replica.
    let Some(url) = database::postgres().await else { return };
    let here = Store::open(&url, Clock::system()).await.unwrap();
    let there = Store::open(&url, Clock::system()).await.unwrap();
    let held = here.take_lock("one", "ada").await.unwrap();
    let refused = there.take_lock("one", "bob").await.unwrap_err();
    assert!(matches!(refused, LockError::HeldBy(holder) if holder == "ada"));
    here.close().await;
    assert!(there.take_lock("one", "bob").await.unwrap().token > held.token);
}

//! When a rollout is looked at.

use tokio::time::Instant;

use super::*;

const S: i64 = 1_000_000;

fn here(names: &[(&str, i64)]) -> Here {
    names.iter().map(|(name, since)| (name.parse().unwrap(), *since)).collect()
}

/// How long until there is news, s.
async fn wait(looked: &Looked, changes: &mut watch::Receiver<()>, now: impl Fn() -> Here) -> u64 {
    let began = Instant::now();
    looked.news(changes, &Clock::simulated(0), now).await;
    began.elapsed().as_secs()
}

#[tokio::test(start_paused = true)]
async fn storage_is_asked_when_it_has_something_new_and_seldom_without() {
    let (told, mut changes) = watch::channel(());
    let idle = Looked { running: None };
    // Boxes that come and go are nothing to a rollout that is not.
    assert_eq!(wait(&idle, &mut changes, || here(&[("a", 1)])).await, 30);
    // What was told while it was looked is not lost.
    told.send_replace(());
    assert_eq!(wait(&idle, &mut changes, Vec::new).await, 0);
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(7)).await;
        told.send_replace(());
        told
    });
    assert_eq!(wait(&idle, &mut changes, Vec::new).await, 7);
    drop(later.await);
    // Storage that is gone does not make it turn.
    assert_eq!(wait(&idle, &mut changes, Vec::new).await, 30);
}

#[tokio::test(start_paused = true)]
async fn a_rollout_that_runs_sees_boxes_come_and_go_and_its_time_come() {
    let (told, mut changes) = watch::channel(());
    let now = || here(&[("a", 1), ("b", 2)]);
    let looked = |due_us| Looked { running: Some((now(), due_us)) };
    assert_eq!(wait(&looked(None), &mut changes, now).await, 30);
    assert_eq!(wait(&looked(Some(5 * S)), &mut changes, now).await, 5);
    let began = Instant::now();
    let gone = || if began.elapsed().as_secs() < 3 { now() } else { here(&[("a", 1)]) };
    assert_eq!(wait(&looked(None), &mut changes, gone).await, 3);
    // Away and back between two looks.
    assert_eq!(wait(&looked(None), &mut changes, || here(&[("a", 1), ("b", 9)])).await, 0);
    told.send_replace(());
    assert_eq!(wait(&looked(Some(5 * S)), &mut changes, now).await, 0);
}

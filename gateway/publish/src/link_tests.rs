//! What comes in from the own broker, and in which order. Both ends are channels: the broker's part is tested there.

use std::sync::Mutex;

use gateway_core::Messages;

use super::*;

struct Taken;

impl Publish for Taken {
    fn publish(&self, _: &str, _: Bytes, _: bool) -> bool {
        true
    }

    fn publish_now(&self, _: &str, _: Bytes, _: Duration) -> bool {
        true
    }
}

struct Given(Mutex<Option<mpsc::Receiver<Message>>>);

impl Messages for Given {
    fn subscribe(&self, _: Vec<String>) -> mpsc::Receiver<Message> {
        self.0.lock().unwrap().take().unwrap()
    }
}

fn link() -> (mpsc::Sender<Message>, Link) {
    let (to, from) = mpsc::channel(8);
    let messages = Arc::new(Given(Mutex::new(Some(from))));
    let target = Target::Embedded { publish: Arc::new(Taken), messages };
    (to, Link::connect(&target, None, vec![]).unwrap())
}

fn say(to: &mpsc::Sender<Message>, topic: &str) {
    to.try_send(Message { topic: topic.to_owned(), payload: Bytes::new(), retained: false }).unwrap();
}

async fn next(link: &mut Link) -> String {
    match link.next().await {
        Incoming::Message { topic, .. } => topic,
        other => format!("{other:?}").split('(').next().unwrap().to_owned(),
    }
}

#[tokio::test]
async fn a_host_waits_for_one_barrier_at_most_and_a_barrier_for_one_message() {
    let (to, mut link) = link();
    say(&to, "a");
    for _ in 0..3 {
        link.barrier().await.unwrap();
    }
    say(&to, "b");
    let mut told = Vec::new();
    for _ in 0..7 {
        told.push(next(&mut link).await);
    }
    assert_eq!(told, ["Connected", "Subscribed", "a", "Passed", "b", "Passed", "Passed"]);
    link.barrier().await.unwrap();
    drop(to);
    assert_eq!(next(&mut link).await, "Passed");
    assert_eq!(next(&mut link).await, "Down");
}

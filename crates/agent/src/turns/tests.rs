use std::time::Duration;

use super::*;

fn send(context: &ContextId, text: &str) -> Send {
    Send {
        message_id: "m".to_owned(),
        context: Some(context.clone()),
        task: None,
        texts: vec![text.to_owned()],
        blocking: false,
        history_length: None,
    }
}

#[tokio::test]
async fn a_turn_keeps_the_settings_it_was_sent_under_and_a_waiting_one_takes_the_newest() {
    let name = |spec| ModelName::parse(spec, None).unwrap();
    // Accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", silent.local_addr().unwrap());
    let proxy = Proxy::new(&address, None, None, Duration::from_millis(200)).unwrap();
    let agent = Arc::new(Agent::new(proxy, name("a/first"), Clock::system()));
    let id = ContextId::new();
    let sent = [
        agent.send(send(&id, "one"), Dialect::V03).await.unwrap(),
        agent.send(send(&id, "two"), Dialect::V03).await.unwrap(),
    ];
    agent.contexts.open(&id).0.set(Settings { name: name("a/second"), prompt: None });
    for (task, expected) in sent.iter().zip(["a/first", "a/second"]) {
        let reply = loop {
            match agent.task(&task.id).unwrap().state {
                State::Done(reply) => break reply,
                _ => tokio::time::sleep(Duration::from_millis(2)).await,
            }
        };
        let Outcome::Failure { call: Some(call), .. } = &reply.outcome else { panic!("it answered") };
        assert_eq!(call.model, expected, "the first turn had its context, the second waited for it");
    }
}

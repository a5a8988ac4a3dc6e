//! Recordings of real servers, as they lie in `tests/wire`.

use serde_json::Value;

use super::replay::{Asked, Body, Exchange, Rpc};

/// One request and its answer.
pub(super) struct Recording {
    name: String,
    json: Value,
}

/// The recording `name`, such as `litellm/1.80/model_info`.
pub(super) fn recording(name: &str) -> Recording {
    let json = serde_json::from_str(&text(&format!("{name}.json"))).unwrap();
    Recording { name: name.to_owned(), json }
}

/// The recorded file `name`.
pub(super) fn text(name: &str) -> String {
    let path = format!("{}/tests/wire/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

impl Recording {
    /// The recorded answer's body, to be changed before it is played.
    pub(super) fn body(&mut self) -> &mut Value {
        &mut self.json["response"]["body"]
    }

    /// The key that was sent along.
    pub(super) fn key(&self) -> Option<&str> {
        self.header("authorization")?.strip_prefix("Bearer ")
    }

    /// What was asked, path and query.
    pub(super) fn target(&self) -> String {
        let request = &self.json["request"];
        let whole = request["path"].as_str().or_else(|| request["url"].as_str()).unwrap();
        match whole.split_once("://") {
            Some((_, rest)) => rest[rest.find('/').unwrap()..].to_owned(),
            None => whole.to_owned(),
        }
    }

    /// The text of the message that was sent to an agent.
    pub(super) fn text(&self) -> &str {
        self.message()["parts"][0]["text"].as_str().unwrap()
    }

    /// The version that was told along with it.
    pub(super) fn version(&self) -> Option<&str> {
        self.header("a2a-version")
    }

    /// Its context.
    pub(super) fn context(&self) -> &str {
        self.message()["contextId"].as_str().unwrap_or("none")
    }

    /// The result of a recorded call.
    pub(super) fn result(&self) -> &Value {
        &self.json["response"]["body"]["result"]
    }

    fn message(&self) -> &Value {
        &self.json["request"]["body"]["params"]["message"]
    }

    fn header(&self, name: &str) -> Option<&str> {
        let headers = self.json["request"]["headers"].as_object()?;
        headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name))?.1.as_str()
    }

    /// The exchange as it was: the same request is expected, and answered the same.
    pub(super) fn played(&self) -> Exchange {
        let (request, response) = (&self.json["request"], &self.json["response"]);
        let headers = &response["headers"];
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let body = match (&response["text"], &response["body"]) {
            (Value::String(text), _) | (Value::Null, Value::String(text)) => text.clone().into_bytes(),
            (_, body) => serde_json::to_vec(body).unwrap(),
        };
        Exchange {
            name: self.name.clone(),
            asked: Asked {
                method: text(&request["method"]).unwrap(),
                target: self.target(),
                key: self.key().map(str::to_owned),
                body: None,
                rpc: self.rpc(),
                header: None,
            },
            status: u16::try_from(response["status"].as_u64().unwrap()).unwrap(),
            content_type: text(&headers["content-type"]).unwrap_or_else(|| "application/json".to_owned()),
            location: text(&headers["location"]),
            body: Body::Whole(body),
        }
    }

    fn rpc(&self) -> Option<Rpc> {
        let body = &self.json["request"]["body"];
        let method = body["method"].as_str()?.to_owned();
        Some(Rpc {
            version: self.header("a2a-version").map(str::to_owned),
            ..Rpc::read(&method, &body["params"])
        })
    }
}

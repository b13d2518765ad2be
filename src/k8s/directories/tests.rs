//! What becomes of Directory objects, without a directory.
use futures::stream;
use kube::client::Body;
use serde_json::{Value, json};

use super::*;

fn directory(name: &str, provider: &str) -> Guarded<Directory> {
    let provider = json!({ provider: {
        "url": "https://sso.acme.example", "realm": "acme", "credentials": {"secret": "acme"},
    }});
    let object = json!({
        "apiVersion": "credreset.dev/v1alpha1", "kind": "Directory",
        "metadata": {"name": name, "uid": name, "generation": 1}, "spec": {"provider": provider, "allow": []},
    });
    serde_json::from_value(object).unwrap()
}

/// Requests in a Directory of a provider that a later version may know wait, and those in others go on.
#[tokio::test]
async fn an_unreadable_directory_stops_no_other() {
    let service = tower::service_fn(|_: ::http::Request<Body>| async {
        Ok::<_, std::convert::Infallible>(::http::Response::new(Body::from(Value::Null.to_string().into_bytes())))
    });
    let client = Client::new(service, "default");
    let (secrets, events) = (Secrets::new(client.clone(), "system"), Events::new(client.clone(), "op"));
    let (changed, mut names) = mpsc::unbounded_channel();
    let directories = Directories::new(client, secrets, events, Metrics::default(), Life::default(), changed);
    let not_ready = |name: &str| match directories.facts(name) {
        Seen::Known(facts) => facts.not_ready.unwrap_or_default(),
        facts => panic!("{name}: {facts:?}"),
    };
    let listed = [
        watcher::Event::Init,
        watcher::Event::InitApply(directory("later", "passkeys")),
        watcher::Event::InitApply(directory("acme", "keycloak")),
        watcher::Event::InitDone,
    ];
    directories.follow_objects(stream::iter(listed.map(Ok))).await;
    let later = not_ready("later");
    assert!(later.starts_with("the operator cannot read the object: ") && later.ends_with('.'), "{later}");
    assert_eq!(not_ready("acme"), "it is being checked.");
    assert_eq!([(); 2].map(|()| names.try_recv().unwrap()), ["later", "acme"]);

    // Once it can be read, it is checked like any other; and deleted, it is gone.
    let fixed = watcher::Event::Apply(directory("later", "keycloak"));
    directories.follow_objects(stream::iter([Ok(fixed)])).await;
    assert_eq!(not_ready("later"), "it is being checked.");
    let deleted = watcher::Event::Delete(directory("later", "passkeys"));
    directories.follow_objects(stream::iter([Ok(deleted)])).await;
    assert_eq!(directories.facts("later"), Seen::Absent);
}

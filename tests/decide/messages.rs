//! Every case once more, with hostile texts in its world: no message or field shows any of them raw.
use std::collections::BTreeSet;

use credreset::core::text::MESSAGE;

use super::*;
use texts::{PIECES, unseen};

/// The places of `value` that take any text.
fn free(world: &Value) -> BTreeSet<String> {
    fn walk(value: &Value, at: &str, found: &mut BTreeSet<String>) {
        match value {
            Value::String(_) => drop(found.insert(at.to_owned())),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| walk(item, &format!("{at}/{i}"), found));
            }
            Value::Object(map) => map.iter().for_each(|(key, item)| walk(item, &format!("{at}/{key}"), found)),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    let mut all = BTreeSet::new();
    walk(world, "", &mut all);
    all.retain(|at| {
        let mut other = world.clone();
        *other.pointer_mut(at).unwrap() = json!("any text at all");
        serde_json::from_value::<World>(other).is_ok()
    });
    all
}

/// The same text becomes the same other text, so that rules still match and records are still found.
#[test]
fn messages_show_nothing_raw() {
    let (mut views, mut reasons) = (0, BTreeSet::new());
    // An address has one sign of it, and rules look at what comes after.
    let all: String = PIECES.into_iter().filter(|piece| !piece.contains('@')).collect();
    let long = "\u{1b}[31m\u{202e}".repeat(4096);
    for (name, case) in cases() {
        let world = case.world();
        let own = match (&world.ledger.record, world.subject.request()) {
            (Seen::Known(record), Some(request)) => record.request.digest == request.digest(),
            _ => false,
        };
        let plain = serde_json::to_value(&world).unwrap();
        let places = free(&plain);
        for piece in [all.as_str(), "\r\n", long.as_str()] {
            let mut hostile = plain.clone();
            for at in &places {
                let value = hostile.pointer_mut(at).unwrap();
                *value = json!(format!("{}{piece}", value.as_str().unwrap()));
            }
            let mut world: World = serde_json::from_value(hostile).unwrap();
            if own && let (Seen::Known(record), Some(request)) = (&mut world.ledger.record, world.subject.request()) {
                record.request.digest = request.digest();
            }
            if let Decision::Rest { view: Some(view), .. } = decide(&world) {
                views += 1;
                reasons.insert(view.reason.to_string());
                assert_eq!(unseen(&view.message), None, "{name} with {piece:?}: {:?}", view.message);
                assert!(view.message.len() <= MESSAGE, "{name}: {} bytes", view.message.len());
            }
        }
    }
    assert!(views > 150 && reasons.len() > 25, "{views} views, {reasons:?}");
}

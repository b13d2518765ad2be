//! Generated passwords: which characters each has, and that no character is more frequent than others.
#![cfg(test)]
#![allow(clippy::cast_precision_loss, reason = "counts of a few thousand")]
use std::collections::{BTreeMap, HashSet};

use credreset::{
    core::request::{Kinds, PasswordSource, Policy},
    password::generate,
};
use secrecy::ExposeSecret;

fn generated(length: u8) -> String {
    generate(length, &Kinds::default()).unwrap().expose_secret().to_owned()
}

#[test]
fn length_is_as_asked_for_within_bounds() {
    for (asked, got) in [(0, 8), (12, 12), (20, 20), (127, 127), (128, 128), (255, 128)] {
        assert_eq!(generated(asked).len(), got);
    }
}

#[test]
fn every_class_and_nothing_that_looks_alike() {
    for length in [12, 20, 128] {
        for _ in 0..300 {
            let password = generated(length);
            assert!(password.chars().any(|c| c.is_ascii_lowercase()), "{password}");
            assert!(password.chars().any(|c| c.is_ascii_uppercase()), "{password}");
            assert!(password.chars().any(|c| c.is_ascii_digit()), "{password}");
            assert!(password.chars().any(|c| c.is_ascii_punctuation()), "{password}");
            assert!(
                !password.contains(['0', 'O', 'o', '1', 'l', 'I', '|', '"', '\'', '`', '\\', ' ', '$', '<', '>', '&']),
                "{password}"
            );
            assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()), "{password}");
            let bytes = password.as_bytes();
            assert!(bytes.windows(3).all(|w| !(w[0] == w[1] && w[1] == w[2])), "{password}");
            assert!(bytes.windows(3).all(|w| !(w[1] == w[0] + 1 && w[2] == w[1] + 1)), "{password}");
        }
    }
}

#[test]
fn none_is_drawn_twice() {
    let all: HashSet<String> = (0..10_000).map(|_| generated(12)).collect();
    assert_eq!(all.len(), 10_000);
}

/// Chi-squared over the characters of 4,000 passwords, leaving out the first, which is a letter. The rules shift frequencies
/// a little (rarer classes are seen more often), so characters are compared within their class only. The bound is one that
/// a fair generator misses once in a million million runs.
#[test]
fn no_character_is_favoured() {
    let mut counts: BTreeMap<char, f64> = BTreeMap::new();
    for _ in 0..4_000 {
        for character in generated(32).chars().skip(1) {
            *counts.entry(character).or_default() += 1.0;
        }
    }
    let classes: [fn(&char) -> bool; 4] =
        [char::is_ascii_lowercase, char::is_ascii_uppercase, char::is_ascii_digit, char::is_ascii_punctuation];
    for class in classes {
        let of_class: Vec<f64> = counts.iter().filter(|(c, _)| class(c)).map(|(_, n)| *n).collect();
        let freedom = of_class.len() as f64 - 1.0;
        let expected = of_class.iter().sum::<f64>() / of_class.len() as f64;
        let chi: f64 = of_class.iter().map(|n| (n - expected).powi(2) / expected).sum();
        // Characters in the middle of a run (b of abc) are generated a trifle more rarely than those at its ends.
        assert!(
            chi < freedom + 7.0 * (2.0 * freedom).sqrt() + 60.0,
            "chi squared {chi} with {freedom} degrees of freedom: {counts:?}"
        );
    }
}

fn counts(password: &str) -> [usize; 4] {
    let classes: [fn(&char) -> bool; 4] =
        [char::is_ascii_lowercase, char::is_ascii_uppercase, char::is_ascii_digit, char::is_ascii_punctuation];
    classes.map(|class| password.chars().filter(class).count())
}

#[test]
fn as_many_of_each_kind_as_are_asked_for() {
    let kinds = |lower, upper, digits, punctuation, from: Option<&str>| Kinds {
        lower_case: lower,
        upper_case: upper,
        digits,
        punctuation,
        punctuation_from: from.map(str::to_owned),
    };
    for (length, asked) in [
        (20, kinds(None, None, Some(3), Some(3), None)),
        (20, kinds(Some(5), Some(5), Some(5), Some(5), None)),
        (12, kinds(Some(1), Some(0), Some(11), Some(0), None)),
        (20, kinds(None, None, None, Some(0), None)),
        (16, kinds(Some(0), Some(2), Some(0), Some(4), Some("-."))),
    ] {
        for _ in 0..300 {
            let password = generate(length, &asked).unwrap();
            let password = password.expose_secret();
            assert_eq!(password.len(), usize::from(length));
            assert!(password.starts_with(|c: char| c.is_ascii_alphabetic()), "{password}");
            for (least, n) in asked.least().into_iter().zip(counts(password)) {
                assert!(n >= usize::from(least) && (least > 0 || n == 0), "{asked:?} {password}");
            }
            if let Some(from) = &asked.punctuation_from {
                assert!(password.chars().filter(char::is_ascii_punctuation).all(|c| from.contains(c)), "{password}");
            }
        }
    }
    // Where no password keeps every rule, one is generated all the same.
    assert_eq!(
        counts(generate(12, &kinds(Some(1), Some(0), Some(0), Some(11), Some("-"))).unwrap().expose_secret()),
        [1, 0, 0, 11]
    );
}

#[test]
fn what_the_directory_asks_for_is_in_every_draw() {
    let kinds_of =
        |length, kinds: Kinds, policy: Policy| match (PasswordSource::Generate { length, kinds }).within(&policy) {
            PasswordSource::Generate { length, kinds } => (length, kinds.least()),
            other @ PasswordSource::FromSecret { .. } => panic!("{other:?}"),
        };
    let policy = Policy { length: 25, longest: None, least: [0, 2, 3, 3] };
    assert_eq!(kinds_of(20, Kinds::default(), policy.clone()), (25, [1, 2, 3, 3]));
    let none = Kinds { punctuation: Some(0), digits: Some(5), ..Kinds::default() };
    assert_eq!(kinds_of(30, none, policy), (30, [1, 2, 5, 0]), "what is left out stays out");
    let short = Policy { longest: Some(16), ..Policy::default() };
    assert_eq!(kinds_of(20, Kinds::default(), short), (16, [1; 4]));
    let many = Policy { least: [20; 4], ..Policy::default() };
    assert_eq!(kinds_of(20, Kinds::default(), many), (80, [20; 4]));
    // A request that says nothing of it has the digest that it has always had.
    let source = serde_json::to_string(&PasswordSource::Generate { length: 20, kinds: Kinds::default() }).unwrap();
    assert_eq!(source, r#"{"generate":{"length":20}}"#);
}

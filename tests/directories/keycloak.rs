use serde_json::json;

use crate::keycloak_server::Keycloak;

#[test]
fn harness() {
    let t = std::time::Instant::now();
    let keycloak = Keycloak::shared();
    println!("server {:?}", t.elapsed());
    let realm = keycloak.realm(json!({}));
    println!("realm {:?}", t.elapsed());
    let realm2 = keycloak.realm(json!({}));
    println!("realm {:?}", t.elapsed());
    assert_eq!(realm.sign_in("ann", "ann-old-1"), "signed in");
    let mut browser = realm.browser();
    assert!(!browser.is_signed_in());
    assert_eq!(browser.sign_in("ann", "ann-old-1"), "signed in");
    assert!(browser.is_signed_in());
    println!("browser {:?}", t.elapsed());
    let online = realm.refresh_token("ann", "ann-old-1", false);
    let offline = realm.refresh_token("ann", "ann-old-1", true);
    assert!(realm.lives(&online) && realm.lives(&offline));
    let ann = realm.id("ann");
    assert_eq!(realm.resets(&ann), 0);
    realm.reset_by_hand(&ann, "Another-one-1");
    assert_eq!(realm.resets(&ann), 1);
    assert!(browser.is_signed_in());
    assert_eq!(realm.sign_in("bob", "bob-old-1"), "Invalid user credentials");
    assert_eq!(realm.sign_in_with_code("bob", "bob-old-1"), "signed in");
    assert_eq!(realm.browser().sign_in("bob", "bob-old-1"), "kc-otp-login-form");
    assert_eq!(realm.browser().sign_in("bob", "bob-old-2"), "x");
}

//! Every row of the console's form "Reset password/MFA of a single user", and what people see.
use serde_json::{Value, json};

use crate::env::{ANNETTE, SYSTEM, Site, TEAM, condition, message, mfa_reset, password_reset, wait_for};
use crate::smtp::Smtp;

const EMAIL: &str = "annette.c@zylker.biz";

/// The fields of the last call of this kind, as the sandbox logged them.
fn arrived(site: &Site, kind: &str) -> Value {
    let calls = site.sandbox.get("/sandbox/calls");
    calls
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .find(|call| call["kind"] == kind)
        .map(|call| call["fields"].clone())
        .unwrap_or_default()
}

#[test]
fn generated_password_with_every_flag() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    let flags = json!({"generate": {"length": 24}, "forceChangeOnLogin": true, "clearMobileSessionsAndApiTokens": true, "emailToUser": true});
    site.apply(&password_reset("annette", EMAIL, json!({"spec": {"password": flags}})));
    site.kubectl(&["wait", "--for=condition=Succeeded", "--timeout=60s", "-n", TEAM, "creset/annette"]);
    let reset = site.reset("annette");
    assert_eq!(condition(&reset, "Ready").unwrap(), ("True".into(), "Applied".into()));
    assert_eq!(reset["status"]["outcome"], "Applied");
    assert_eq!(reset["status"]["evidence"], "Response");
    assert_eq!(reset["status"]["observedGeneration"], 1);
    assert_eq!(reset["status"]["user"], json!({"id": ANNETTE, "name": EMAIL}));

    // What arrived.
    let fields = arrived(&site, "reset-password");
    assert_eq!(fields["force_change"], true);
    assert_eq!(fields["clear_mobile_sessions_and_api_tokens"], true);
    assert_eq!(fields["email_user"], true);
    assert_eq!(fields["admin_password"], "(given)", "the administrator's own password, since the template asks for it");

    // What changed.
    let password = site.secret(TEAM, "annette-password", "password");
    assert_eq!(site.secret(TEAM, "annette-password", "username"), EMAIL);
    assert_eq!(password.len(), 24);
    assert_eq!(site.sandbox.sign_in(EMAIL, "Annette-old-1"), "wrong");
    assert_eq!(site.sandbox.sign_in(EMAIL, &password), "must-change");
    let user = site.sandbox.user(ANNETTE);
    assert_eq!((&user["webSessions"], &user["mobileSessions"], &user["apiTokens"]), (&json!(0), &json!(0), &json!(0)));
    let mail = site.sandbox.get("/sandbox/mail");
    assert_eq!(mail[0]["to"], EMAIL);
    assert!(mail[0]["body"].as_str().unwrap().contains(&password));
    assert_eq!(user["passwordResets"], 1);

    // What did not.
    assert_eq!(user["mfaResets"], 0);
    assert_eq!(user["factors"].as_array().unwrap().len(), 2);
    let left = site.kubectl(&["get", "secret", "-n", SYSTEM, "-l", "credreset.dev/password", "-o", "name"]);
    assert_eq!(left, "", "the operator keeps no password that was delivered");
}

#[test]
fn entered_password_and_flags_left_alone() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.kubectl(&["create", "secret", "generic", "-n", TEAM, "chosen", "--from-literal=word=Correct-horse-7"]);
    let spec = json!({"password": {
        "generate": null, "deliverTo": null, "fromSecret": {"name": "chosen", "key": "word"}, "forceChangeOnLogin": false,
    }});
    site.apply(&password_reset("annette", EMAIL, json!({ "spec": spec })));
    site.until("annette", "Applied");
    let fields = arrived(&site, "reset-password");
    assert_eq!((&fields["force_change"], &fields["email_user"]), (&json!(false), &json!(false)));
    assert_eq!(fields["clear_mobile_sessions_and_api_tokens"], false);
    assert_eq!(site.sandbox.sign_in(EMAIL, "Correct-horse-7"), "ok");
    let user = site.sandbox.user(ANNETTE);
    // Web sessions always end; there is no field to turn that off.
    assert_eq!((&user["webSessions"], &user["mobileSessions"], &user["apiTokens"]), (&json!(0), &json!(1), &json!(1)));
    assert_eq!(site.sandbox.get("/sandbox/mail"), json!([]));
}

#[test]
fn mfa_and_what_kubectl_shows() {
    let site = Site::start();
    site.usual_directory();
    let _operator = site.operator();
    site.apply(&mfa_reset("annette-mfa", EMAIL, json!({})));
    site.until("annette-mfa", "Applied");
    let user = site.sandbox.user(ANNETTE);
    assert_eq!((&user["factors"], &user["mfaResets"], &user["passwordResets"]), (&json!([]), &json!(1), &json!(0)));
    assert_eq!(user["webSessions"], 1, "resetting MFA ends no session");

    let table = site.kubectl(&["get", "creset", "-n", TEAM]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["NAME", "USER", "MODE", "DIRECTORY", "OUTCOME", "READY", "REASON", "AGE"]);
    assert_eq!(lines[1][..7], ["annette-mfa", EMAIL, "MFA", "zylker", "Applied", "True", "Applied"]);
    let wide = site.kubectl(&["get", "creset", "-n", TEAM, "-o", "wide"]);
    let heads: Vec<&str> = wide.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(heads[8..], ["USER-ID", "REQUESTED", "DIGEST", "COMPLETED", "MESSAGE"]);
    assert!(wide.contains(ANNETTE));

    // Category and short names.
    let all = site.kubectl(&["get", "credreset", "-A", "-o", "name"]);
    for kind in ["credentialreset.", "directory.", "credentialresetrecord."] {
        assert!(all.contains(kind), "{kind} is not in category credreset: {all}");
    }
    site.kubectl(&["get", "cdir,crecord", "-n", SYSTEM]);
    let selected = site.kubectl(&[
        "get",
        "creset",
        "-A",
        "--field-selector",
        "status.outcome=Applied,spec.directory=zylker",
        "-o",
        "name",
    ]);
    assert_eq!(selected.lines().count(), 1);
    let events = site.kubectl(&["get", "events.events.k8s.io", "-n", TEAM]);
    assert!(events.contains("Applied"), "{events}");
}

#[test]
fn explain_has_a_text() {
    let site = Site::start();
    for kind in ["credentialresets", "directories", "credentialresetrecords"] {
        let crd = site.get(&["crd", &format!("{kind}.credreset.dev")]);
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        assert!(schema["description"].as_str().is_some_and(|d| !d.contains("Auto-generated")));
        // The API server takes a moment to publish what it was just given.
        let explained = || String::from_utf8(site.try_kubectl(&["explain", &format!("{kind}.spec")], "").stdout).ok();
        wait_for("kubectl explain", || explained().filter(|text| text.contains("DESCRIPTION")));
    }
}

#[test]
fn the_documented_calls_are_the_default() {
    let site = Site::start();
    site.directory("zylker", json!({"provider": {"zoho": {"resetPassword": null, "resetMFA": null}}}));
    let _operator = site.operator();
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=60s", "directory/zylker"]);
    // Each flag that the documented call cannot carry is refused before anything is sent.
    for (name, flag) in [
        ("force", json!({"forceChangeOnLogin": true})),
        ("clear", json!({"forceChangeOnLogin": false, "clearMobileSessionsAndApiTokens": true})),
        ("mail", json!({"forceChangeOnLogin": false, "emailToUser": true})),
    ] {
        site.apply(&password_reset(name, EMAIL, json!({"spec": {"password": flag}})));
        let reset = site.until(name, "NotSupported");
        assert!(message(&reset).contains("Zoho Directory"), "{}", message(&reset));
    }
    site.apply(&mfa_reset("kinds", EMAIL, json!({"spec": {"mfa": {"factors": ["TOTP"]}}})));
    assert!(message(&site.until("kinds", "NotSupported")).contains("mfa.factors"));
    assert_eq!(site.sandbox.count("reset-password") + site.sandbox.count("reset-mfa"), 0);
    assert!(site.records().is_empty());

    site.apply(&password_reset("plain", EMAIL, json!({"spec": {"password": {"forceChangeOnLogin": false}}})));
    site.until("plain", "Applied");
    assert_eq!(site.sandbox.sign_in(EMAIL, &site.secret(TEAM, "plain-password", "password")), "ok");
    assert_eq!(arrived(&site, "reset-password"), json!({"mode": "resetPassword", "password": "(given)"}));
    site.apply(&mfa_reset("mfa", EMAIL, json!({})));
    site.until("mfa", "Applied");
    assert_eq!(site.sandbox.user(ANNETTE)["mfaEnabled"], false, "the documented call turns MFA off");
}

/// The directory cannot mail the password itself: the operator does, once the change is in force.
#[test]
fn mail_by_the_operator() {
    let site = Site::start();
    let smtp = Smtp::start(&site.dir, &[]);
    let without = json!({"resetPassword": {"body": {"email_user": null}}});
    let mail = |port: u16| json!({"smtp": {"url": format!("smtp://127.0.0.1:{port}"), "from": "helpdesk@zylker.biz"}});
    let gone = Smtp::start(&site.dir.join("gone"), &[]);
    site.directory("zylker", json!({"provider": {"zoho": without}, "mail": mail(gone.port)}));
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    drop(gone);
    // The mail server has gone down since: the reset is in force, and says that it is not delivered yet.
    site.apply(&password_reset(
        "annette",
        EMAIL,
        json!({"spec": {"password": {"deliverTo": null, "emailToUser": true}}}),
    ));
    let said = message(&site.until("annette", "Finishing"));
    assert!(said.contains("in force") && said.contains("mail"), "{said}");
    // Where the check finds that no mail could go out, what is to be mailed waits, and nothing else does.
    site.directory("zylker", json!({"provider": {"zoho": without}, "mail": mail(1)}));
    wait_for("the Directory to say so", || {
        let said = site.until_directory("zylker", "Connected");
        said.contains("But no mail can be sent: the mail server was not reached").then_some(())
    });
    site.apply(&mfa_reset("jan-mfa", "jan.n@zylker.biz", json!({})));
    site.until("jan-mfa", "Applied");
    let to_user = json!({"spec": {"password": {"deliverTo": null, "emailToUser": true}}});
    site.apply(&password_reset("jan", "jan.n@zylker.biz", to_user));
    let said = message(&site.until("jan", "DirectoryNotReady"));
    assert!(said.contains("is to be mailed, and Directory zylker can send no mail"), "{said}");
    assert_eq!((site.sandbox.count("reset-password"), site.sandbox.count("reset-mfa")), (1, 1));
    site.directory("zylker", json!({"provider": {"zoho": without}, "mail": mail(smtp.port)}));
    for name in ["annette", "jan"] {
        site.until(name, "Applied");
    }
    let mails = smtp.mails();
    assert_eq!(mails.len(), 2);
    let hers = mails.iter().find(|mail| mail["to"] == json!([EMAIL])).expect("a mail to her");
    // Quoted-printable: the password stands on a line of its own.
    let text = hers["data"].as_str().unwrap().replace("=\r\n", "").replace("=3D", "=");
    let password = text.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    assert_eq!(site.sandbox.sign_in(EMAIL, password), "must-change");
    assert_eq!(site.sandbox.count("reset-password"), 2);
    assert_eq!(site.sandbox.get("/sandbox/mail"), json!([]), "the directory sent none");
}

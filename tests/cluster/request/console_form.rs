//! Every row of the console's form "Reset password/MFA of a single user", and what people see.
use serde_json::{Value, json};

use crate::smtp::Smtp;
use crate::support::{ANNETTE, SYSTEM, Setup, Site, TEAM, condition, message, mfa_reset, password_reset, wait_for};

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
    site.kubectl(&["wait", "--for=condition=Succeeded", "--timeout=600s", "-n", TEAM, "creset/annette"]);
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
    site.kubectl(&["wait", "--for=condition=Ready", "--timeout=600s", "directory/zylker"]);
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
    // The look-up shows it: it is evidence, and a request for a user whose MFA is off already reports that.
    let guarantees = json!({"password": "AtMostOnce", "mfa": "Provable"});
    assert_eq!(site.get(&["directory", "zylker"])["status"]["guarantees"], guarantees);
    site.apply(&mfa_reset("off", "hiro.t@zylker.biz", json!({})));
    let msg = message(&site.until("off", "NotSupported"));
    assert!(msg.contains("is off already: nothing is sent"), "{msg}");
    assert_eq!(site.sandbox.count("reset-mfa"), 1);
}

/// The form's flags by the default call, as superseded copies of its page name them.
#[test]
fn the_form_without_templates() {
    for (page, copy) in [("OlderPage", "older"), ("OldestPage", "oldest")] {
        let one_time = page == "OlderPage";
        let flags = ["--reset-password-page", copy].map(str::to_owned).to_vec();
        let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
        let smtp = Smtp::start(&site.dir, &[]);
        let zoho = json!({"resetPassword": null, "resetMFA": null, "resetPasswordFields": page});
        let mail = json!({"smtp": {"url": format!("smtp://127.0.0.1:{}", smtp.port), "from": "helpdesk@zylker.biz"}});
        site.directory("zylker", json!({"provider": {"zoho": zoho}, "mail": mail}));
        let _operator = site.operator();
        site.until_directory("zylker", "Connected");
        if !one_time {
            site.apply(&password_reset("force", EMAIL, json!({})));
            let msg = message(&site.until("force", "NotSupported"));
            assert!(msg.contains("forceChangeOnLogin"), "{msg}");
        }
        let flags =
            json!({"forceChangeOnLogin": one_time, "clearMobileSessionsAndApiTokens": true, "emailToUser": true});
        site.apply(&password_reset("annette", EMAIL, json!({"spec": {"password": flags}})));
        site.until("annette", "Applied");
        let sent = |clear: bool| {
            let mut sent =
                json!({"mode": "resetPassword", "password": "(given)", "zuid": "(given)", "resetAuthtoken": clear});
            if one_time {
                sent["oneTimePassword"] = json!(clear);
            } else {
                sent["adminPassword"] = json!("(given)");
            }
            sent
        };
        assert_eq!(arrived(&site, "reset-password"), sent(true));
        let user = site.sandbox.user(ANNETTE);
        let alive =
            |user: &Value| ["webSessions", "mobileSessions", "apiTokens"].map(|name| user[name].as_u64().unwrap());
        assert_eq!(alive(&user), [0, 0, 0]);
        let password = site.secret(TEAM, "annette-password", "password");
        assert_eq!(site.sandbox.sign_in(EMAIL, &password), if one_time { "must-change" } else { "ok" });
        assert_eq!(smtp.mails().len(), 1, "by the operator");

        // What is not asked for does not happen, though the console's default is that it happens.
        let jan = "jan.n@zylker.biz";
        site.sandbox.send("PATCH", "/sandbox/users/700012309", &json!({"mobileSessions": 2, "apiTokens": 3}));
        site.apply(&password_reset("jan", jan, json!({"spec": {"password": {"forceChangeOnLogin": false}}})));
        site.until("jan", "Applied");
        assert_eq!(arrived(&site, "reset-password"), sent(false));
        assert_eq!(alive(&site.sandbox.user("700012309")), [0, 2, 3]);
        assert_eq!(site.sandbox.sign_in(jan, &site.secret(TEAM, "jan-password", "password")), "ok");
    }
}

/// Fields that Zoho no longer takes: nothing is changed, and the Directory says why.
#[test]
fn fields_that_are_not_taken() {
    let site = Site::start();
    let zoho = json!({"resetPassword": null, "resetMFA": null, "resetPasswordFields": "OlderPage"});
    site.directory("zylker", json!({"provider": {"zoho": zoho}}));
    let _operator = site.operator();
    site.apply(&password_reset("annette", EMAIL, json!({})));
    site.kubectl(&["wait", "--for=condition=CallsRefused", "--timeout=600s", "directory/zylker"]);
    let msg = message(&site.until("annette", "DirectoryNotReady"));
    assert!(msg.contains("EXTRA_KEY_FOUND_IN_JSON") && msg.contains("nothing took effect"), "{msg}");
    assert_eq!(site.sandbox.user(ANNETTE)["passwordResets"], 0);
}

/// The administrator's password in the default call: refused once, and not sent again.
#[test]
fn a_wrong_password_of_the_administrator_without_templates() {
    let flags = ["--reset-password-page", "oldest"].map(str::to_owned).to_vec();
    let site = Site::with(&Setup { sandbox: flags, ..Setup::default() });
    let set = |password: &str| {
        let patch = json!({"stringData": {"admin-password": password}}).to_string();
        site.kubectl(&["patch", "secret", "-n", SYSTEM, "zylker-zoho", "-p", &patch]);
    };
    let zoho = json!({"resetPassword": null, "resetMFA": null, "resetPasswordFields": "OldestPage"});
    site.directory("zylker", json!({"provider": {"zoho": zoho}}));
    set("guess");
    let _operator = site.operator();
    site.until_directory("zylker", "Connected");
    let keep = json!({"spec": {"password": {"forceChangeOnLogin": false}}});
    site.apply(&password_reset("annette", EMAIL, keep.clone()));
    let msg = site.until_directory("zylker", "CredentialsRefused");
    assert!(msg.contains("INVALID_ADMIN_PASSWORD"), "{msg}");
    site.apply(&password_reset("jan", "jan.n@zylker.biz", keep));
    for name in ["annette", "jan"] {
        site.until(name, "DirectoryNotReady");
    }
    assert_eq!(site.sandbox.count("reset-password"), 1);
    set("Sandbox-admin-pw-1");
    for name in ["annette", "jan"] {
        site.until(name, "Applied");
    }
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
    let msg = message(&site.until("annette", "Finishing"));
    assert!(msg.contains("in force") && msg.contains("mail"), "{msg}");
    // Where the check finds that no mail could go out, what is to be mailed waits, and nothing else does.
    site.directory("zylker", json!({"provider": {"zoho": without}, "mail": mail(1)}));
    wait_for("the Directory to say so", || {
        let msg = site.until_directory("zylker", "Connected");
        msg.contains("But no mail can be sent: the mail server was not reached").then_some(())
    });
    site.apply(&mfa_reset("jan-mfa", "jan.n@zylker.biz", json!({})));
    site.until("jan-mfa", "Applied");
    let to_user = json!({"spec": {"password": {"deliverTo": null, "emailToUser": true}}});
    site.apply(&password_reset("jan", "jan.n@zylker.biz", to_user));
    let msg = message(&site.until("jan", "DirectoryNotReady"));
    assert!(msg.contains("is to be mailed, and Directory zylker cannot send mail"), "{msg}");
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

//! Look-ups by e-mail address: how far the list is read, and what happens if two users have one address.
use super::*;

const ADDRESS: &str = "shared@zylker.biz";

/// A user in Directory's list with this primary address, and with the other one in `emails`.
fn listed(id: u32, primary: &str, emails: Value) -> Value {
    let mut user = person(&json!(id), primary);
    user["zuid"] = json!((80 + id).to_string());
    user["emails"] = emails;
    user
}

fn with_alias(id: u32, verified: Value) -> Value {
    let mut alias = json!({"email_id": "Shared@zylker.biz", "is_primary": false});
    alias["is_verified"] = verified;
    listed(id, &format!("user{id}@zylker.biz"), json!([alias]))
}

/// Pages of one user each. For the address, Mail answers with `account`; by zuid, it shows the user as a member.
async fn paged(pages: Vec<Value>, account: Answered) -> Server {
    Server::start(move |_, path| match path {
        path if path.starts_with("/oauth") => ok(&token()),
        path if path.contains("/accounts/shared%40zylker.biz") => account.clone(),
        path if path.contains("/users?") => {
            let page = path.split("page=").nth(1).and_then(|rest| rest.split('&').next()).unwrap();
            let page: usize = page.parse().unwrap();
            let users: Vec<&Value> = pages.get(page - 1).into_iter().collect();
            ok(&json!({"users": users, "has_more": page < pages.len()}))
        }
        _ => ok(&json!({"status": {"code": 200}, "data": {"role": "member", "tfaEnabled": true}})),
    })
    .await
}

fn account(patch: &Value) -> Answered {
    let mut data = json!({
        "zuid": 81, "role": "admin", "tfaEnabled": false,
        "emailAddress": [
            {"mailId": "user1@zylker.biz", "isPrimary": true, "isAlias": false, "isConfirmed": true},
            {"mailId": "SHARED@zylker.biz", "isPrimary": false, "isAlias": true, "isConfirmed": true},
        ],
    });
    data.as_object_mut().unwrap().extend(patch.as_object().unwrap().clone());
    ok(&json!({"status": {"code": 200}, "data": data}))
}

async fn look_up(server: &Server, mode: Mode) -> Result<Option<LookUp>, Why> {
    zoho(&server.url).look_up(&UserRef::Email(ADDRESS.to_owned()), mode).await
}

/// A user whom both services show with the address ends the search. If the first page ended it, the account that was read before counts.
/// After more pages the account is read again, since that may have taken minutes.
#[tokio::test]
async fn an_address_that_is_one_users_alone_ends_the_search() {
    let others = || (2..5).map(|id| listed(id, &format!("user{id}@zylker.biz"), json!([])));
    for one in [with_alias(1, json!(true)), listed(1, "shared@ZYLKER.biz", json!(null))] {
        for (before, administrator, mfa_on, calls) in [(0, true, false, 1), (1, false, true, 2)] {
            let pages: Vec<Value> = others().take(before).chain([one.clone()]).chain(others()).collect();
            let server = paged(pages, account(&json!({}))).await;
            let Ok(Some(LookUp::One(user))) = look_up(&server, Mode::MFA).await else { panic!("not found") };
            assert_eq!(user.id.id, "1");
            assert_eq!((user.administrator, user.mfa_on), (Seen::Known(administrator), Seen::Known(mfa_on)));
            assert_eq!((server.seen("/directory").len(), server.seen("/api").len()), (before + 1, calls));
        }
    }
}

/// Otherwise the list is read to its end, and a second user who has the address is found.
#[tokio::test]
async fn twins_are_seen() {
    let unconfirmed = json!([{"mailId": "shared@zylker.biz", "isConfirmed": false}]);
    let other_address = json!([{"mailId": "user1@zylker.biz", "isConfirmed": true}]);
    let verified = json!(true);
    for (verified, account, why) in [
        (&json!(false), account(&json!({})), "the Directory does not show it as verified"),
        (&json!(null), account(&json!({})), "the Directory does not say"),
        (&verified, account(&json!({"emailAddress": unconfirmed})), "Mail shows it as not confirmed"),
        (&verified, account(&json!({"emailAddress": other_address})), "Mail has resolved it to another user"),
        (&verified, account(&json!({"emailAddress": null})), "Mail shows no addresses"),
        (&verified, account(&json!({"zuid": 99})), "an account that the Directory does not have"),
        (&verified, account(&json!({"zuid": "81/../82"})), "an invalid id"),
        (&verified, account(&json!({"zuid": null})), "an account without an id"),
        (&verified, ok(&json!({"data": [{"zuid": 81}]})), "several accounts"),
        (&verified, ok(&json!({"data": {"errorCode": "INVALID_ACCOUNT"}, "status": {"code": 404}})), "no account"),
        (&verified, (404, Vec::new(), "{}".to_owned()), "no such path"),
        (&verified, (500, Vec::new(), String::new()), "a failure"),
        (&verified, (400, Vec::new(), json!({"data": {"errorCode": "PATTERN_NOT_MATCHED"}}).to_string()), "a refusal"),
        (&verified, (200, Vec::new(), "<html>".to_owned()), "not JSON"),
    ] {
        let twins = [with_alias(1, verified.clone()), with_alias(2, verified.clone())];
        let found = look_up(&paged(twins.to_vec(), account.clone()).await, Mode::Password).await;
        assert_eq!(found, Ok(Some(LookUp::Several(2))), "{why}");
        // The list alone is sufficient to find the user who has it.
        let only = [listed(2, "user2@zylker.biz", json!([])), with_alias(1, verified.clone())];
        let Ok(Some(LookUp::One(user))) = look_up(&paged(only.to_vec(), account).await, Mode::Password).await else {
            panic!("{why}")
        };
        assert_eq!(user.id.id, "1", "{why}");
    }
    // Users on the same page are always compared, also those before the one that ends the search.
    let twins = [with_alias(2, json!(true)), with_alias(1, json!(true))];
    let server = paged(twins.to_vec(), account(&json!({}))).await;
    assert_eq!(look_up(&server, Mode::Password).await, Ok(Some(LookUp::Several(2))));
}

/// The facts of an account are used only for its own user.
#[tokio::test]
async fn another_accounts_role_is_not_taken() {
    let pages = vec![with_alias(2, json!(true)), listed(1, "user1@zylker.biz", json!([]))];
    let server = paged(pages, account(&json!({}))).await;
    let Ok(Some(LookUp::One(user))) = look_up(&server, Mode::MFA).await else { panic!("not found") };
    assert_eq!((user.id.id.as_str(), user.administrator, user.mfa_on), ("2", Seen::Known(false), Seen::Known(true)));
    assert_eq!(server.seen("/api/organization/80/accounts/82").len(), 1);
}

/// A throttle counts, whatever request it answers. Mail is not asked about a text that is not an address.
#[tokio::test]
async fn asking_mail() {
    let server = paged(Vec::new(), (429, vec![("retry-after", "30".to_owned())], String::new())).await;
    assert!(look_up(&server, Mode::Password).await.unwrap_err().not_before.is_some());
    assert!(server.seen("/directory").is_empty());
    for (typed, path) in [
        ("a/../b?c#d%2f+e@x.biz", Some("/api/organization/80/accounts/a%2F..%2Fb%3Fc%23d%252f%2Be%40x.biz")),
        ("m\u{fc}ller@x.biz", Some("/api/organization/80/accounts/m%C3%BCller%40x.biz")),
        ("..", None),
        ("no address", None),
        ("blank @x.biz", None),
    ] {
        let server = paged(Vec::new(), ok(&json!({}))).await;
        let found = zoho(&server.url).look_up(&UserRef::Email(typed.to_owned()), Mode::Password).await;
        assert_eq!(found, Ok(None), "{typed}");
        let asked = server.seen("/api").pop().map(|(_, path, _)| path);
        assert_eq!(asked.as_deref(), path, "{typed}");
    }
}

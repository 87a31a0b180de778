//! `opcua trust`: of applications and of users, which are two lists.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed helper fails its test

mod rig;

use rig::Rig;

const FINGERPRINT: &str = "9F:86:D0:81:88:4C";

fn asked(rig: &Rig) -> String {
    rig.world().seen.iter().rev().find(|s| s.method == "POST").unwrap().uri.clone()
}

#[tokio::test]
async fn certificates_of_users_are_listed_trusted_and_revoked_apart_from_those_of_applications() {
    let rig = Rig::gateway().await;
    rig.run(&["opcua", "trust"]).await.code(0).has(&["own", "CN=scada", "users/rejected", "CN=ann"]);
    let users = rig.run(&["opcua", "trust", "--user"]).await.code(0).has(&["CN=ann"]);
    assert!(!users.out.contains("CN=scada") && !users.out.contains("CN=box"), "{users:?}");
    for (args, path, told) in [
        (&["opcua", "trust", FINGERPRINT][..], "certificates/9F86D081884C/trust", "trusted: 9f86"),
        (
            &["opcua", "trust", FINGERPRINT, "--revoke"],
            "certificates/9F86D081884C/distrust",
            "rejected: 9f86",
        ),
        (&["opcua", "trust", "--user", FINGERPRINT], "users/9F86D081884C/trust", "users/trusted: 9f86"),
        (
            &["opcua", "trust", "--user", FINGERPRINT, "--revoke"],
            "users/9F86D081884C/distrust",
            "users/rejected: 9f86",
        ),
    ] {
        rig.run(args).await.code(0).has(&[told]);
        assert_eq!(asked(&rig), format!("/api/v1/opcua/{path}"));
    }
    rig.run(&["opcua", "trust", "--user", "--own"]).await.code(2);
}

//! `twinway buffer` at a box: what it shows, exports, checks and drops.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // tests may

mod rig;

use rig::Rig;

#[tokio::test]
async fn the_buffer_of_a_box_is_shown_in_detail() {
    let rig = Rig::gateway().await;
    let shown = rig.run(&["buffer", "status"]).await.code(0);
    let shown = shown.has(&[
        "12 frames, the oldest 4s",
        "100 frames, 11 of them the cloud lacks",
        "alone 2.0 KiB of 256.0 MiB",
        "lacks 5 frames",
        "3 frames, 333 samples: quota",
        "2 damaged files",
        "REFUSING",
    ]);
    assert!(!shown.out.contains('\x1b'));
    let json = rig.run(&["-o", "json", "buffer", "status"]).await.code(0).json();
    assert_eq!(json[0]["detail"]["segments"], 7);
}

#[tokio::test]
async fn samples_are_exported_as_they_come_and_damage_is_an_exit_status() {
    let rig = Rig::gateway().await;
    rig.run(&["buffer", "export", "--from", "-2h", "--device", "oven"])
        .await
        .code(0)
        .has(&["t,r,oven,temp,1,Cel,good"]);
    let uri = rig.world().seen.last().unwrap().uri.clone();
    assert_eq!(uri, "/api/v1/buffer/export?from=-2h&to=now&format=csv&device=oven");
    rig.run(&["buffer", "verify"]).await.code(1).has(&["99 frames in 3 files", "1.seg: frames 4 to 6"]);
}

#[tokio::test]
async fn nothing_is_dropped_without_yes_and_a_reason() {
    let rig = Rig::gateway().await;
    rig.run(&["buffer", "drop", "--to", "-2d", "--reason", "test"]).await.code(2);
    rig.run(&["buffer", "drop", "--to", "-2d", "--yes"]).await.code(2);
    assert!(rig.world().seen.iter().all(|s| !s.uri.contains("drop")));
    rig.run(&["buffer", "drop", "--to", "-2d", "--reason", "test", "--yes"])
        .await
        .code(0)
        .has(&["dropped 4 frames with 400 samples", "6 frames that it has"]);
}

//! A box enrols with a code, by the command line, in a cloud that makes its certificates itself: real processes over TLS. It
//! comes back by itself, renews, is locked out with nothing lost, and is let in again. What it is renewed to may be wrong.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use common::Value;
use common::api::{CertificateView, GatewayView, IdentityView, Page};
use common::command::{LogEntry, Severity};
use common::names::action;
use tests::faults::shim::{Number, Shim};
use tests::field::ModbusDevice;
use tests::gateway::{Setup, registers_device};
use tests::process::program;
use tests::{Cloud, Gateway, until};

const LIMIT: Duration = Duration::from_secs(60);
/// Metric of those who were not let in.
const CREDENTIALS: &str = "twinway_cloud_refused_total{cause=\"credentials\"}";
const NAMES: &str = "names = [\"127.0.0.1\", \"localhost\"]";

async fn twinway(target: &[&str], token: Option<&str>, words: &[&str]) -> Output {
    let mut command = Command::new(program("twinway"));
    command.args(["--output", "json"]).args(target).args(words).env("TWINWAY_TOKEN", token.unwrap_or(""));
    tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends")
}

fn json(output: &Output) -> serde_json::Value {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}{err}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {out}"))
}

async fn at_cloud(cloud: &Cloud, words: &[&str]) -> Output {
    let url = format!("http://{}", cloud.http);
    twinway(&["--url", &url], cloud.api().token(), words).await
}

async fn code(cloud: &Cloud, gateway: &str) -> String {
    json(&at_cloud(cloud, &["gateway", "code", gateway]).await)["code"].as_str().expect("a code").to_owned()
}

async fn enrol(dir: &Path, cloud: &Cloud, code: &str) -> Output {
    let (socket, url) = (dir.join("api.sock"), format!("http://{}", cloud.http));
    let socket = socket.to_str().expect("a UTF-8 path");
    twinway(&["--socket", socket], None, &["enrol", code, "--cloud", &url]).await
}

async fn value(cloud: &Cloud, expected: f64) {
    until("the value in the cloud", LIMIT, || async {
        (cloud.api().value("hall/plc", "r0").await? == Value::F64(expected)).then_some(())
    })
    .await;
}

async fn entries(cloud: &Cloud, action: &str) -> Vec<LogEntry> {
    let page: Page<LogEntry> = cloud.api().get("/api/v1/audit?limit=1000").await;
    page.items.into_iter().filter(|e| e.action == action).collect()
}

async fn certificates(cloud: &Cloud) -> Vec<CertificateView> {
    cloud.api().get::<Page<CertificateView>>("/api/v1/gateways/box1/certificates").await.items
}

#[tokio::test(flavor = "multi_thread")]
async fn a_box_enrols_with_a_code_and_is_locked_out_and_let_in_again_with_nothing_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let cloud = Cloud::start_with_ingress(&dir.path().join("cloud"), NAMES, Vec::new()).await;
    let setup = Setup { devices: registers_device(plc.addr, 2, 50), ..Setup::default() };
    let place = dir.path().join("box");
    let mut gateway = Gateway::start(&place, &setup).await;

    let other = enrol(&place, &cloud, &code(&cloud, "box2").await).await;
    assert!(
        !other.status.success() && String::from_utf8_lossy(&other.stderr).contains("the code is for `box2`")
    );
    let first = code(&cloud, "box1").await;
    plc.set(0, 77);
    let view: IdentityView =
        serde_json::from_value(json(&enrol(&place, &cloud, &first).await)).expect("a view");
    assert_eq!(
        (view.gateway.as_str(), view.url),
        ("box1", format!("mqtts://127.0.0.1:{}", cloud.ingress.port()))
    );
    value(&cloud, 7.7).await;

    // What somebody else's program says of the certificate.
    let kept = std::fs::read_to_string(place.join("data/identity/identity.json")).expect("what it keeps");
    let kept: serde_json::Value = serde_json::from_str(&kept).expect("JSON");
    let (pem, root) = (dir.path().join("box.pem"), dir.path().join("cloud/data/authority/authority.pem"));
    std::fs::write(&pem, kept["enrolled"]["certificate"].as_str().expect("PEM")).expect("a file");
    let openssl = |words: &[&str]| Command::new("openssl").args(words).output().expect("openssl runs");
    let [pem, root] = [&pem, &root].map(|p| p.to_str().expect("a UTF-8 path"));
    let verified = openssl(&["verify", "-purpose", "sslclient", "-CAfile", root, pem]);
    assert!(verified.status.success(), "{verified:?}");
    let text = openssl(&["x509", "-in", pem, "-noout", "-text"]).stdout;
    let text = String::from_utf8_lossy(&text).into_owned();
    assert!(text.contains("URI:urn:twinway:default:box1") && text.contains("CN = default/box1"), "{text}");
    // It does nothing over an older TLS, and the ingress shows a certificate of its names.
    let port = format!("127.0.0.1:{}", cloud.ingress.port());
    let shown = openssl(&[
        "s_client",
        "-connect",
        &port,
        "-CAfile",
        root,
        "-verify_ip",
        "127.0.0.1",
        "-tls1_3",
        "-brief",
    ]);
    assert!(String::from_utf8_lossy(&shown.stderr).contains("Verification: OK"), "{shown:?}");

    // The code is used up, for every other key.
    let elsewhere = dir.path().join("elsewhere");
    let stranger = Gateway::start(&elsewhere, &setup).await;
    let again = enrol(&elsewhere, &cloud, &first).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("used up"), "{again:?}");
    drop(stranger);

    // It comes back by itself.
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    let gateway = Gateway::start(&place, &setup).await;
    plc.set(0, 88);
    value(&cloud, 8.8).await;

    let revoked = json(&at_cloud(&cloud, &["gateway", "revoke", "box1", "--reason", "stolen"]).await);
    assert_eq!(revoked["certificates"], 1);
    until("a box that is locked out", LIMIT, || async {
        let health = gateway.health().await;
        (!health.uplink && health.uplink_error.is_some() && health.buffer.unacked_frames > 0).then_some(())
    })
    .await;
    plc.set(0, 99);
    let waiting = until("a value that waits", LIMIT, || async {
        let health = gateway.health().await;
        (gateway.api().value("hall/plc", "r0").await? == Value::F64(9.9))
            .then_some(health.buffer.unacked_frames)
    })
    .await;
    assert!(waiting > 0);
    assert_eq!(cloud.api().value("hall/plc", "r0").await, Some(Value::F64(8.8)));
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    value(&cloud, 9.9).await;
    gateway.emptied().await;
    let history = cloud.api().history("hall/plc", "r0", "from=-1h&max_points=2000").await;
    let seen: Vec<_> =
        history.points.iter().filter_map(|p| serde_json::to_value(p).ok()?["value"].as_f64()).collect();
    assert!([7.7, 8.8, 9.9].iter().all(|v| seen.contains(v)), "{seen:?}");
    assert_eq!(entries(&cloud, action::GATEWAY_ENROLLED).await.len(), 4, "two, told by both sides");
    let states: Vec<_> = certificates(&cloud).await.iter().map(|c| c.revoked_us.is_some()).collect();
    assert_eq!(states, [false, true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_renewed_in_the_session_and_after_an_absence_beyond_its_end() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let keys = format!("{NAMES}\ncertificate_days = 1\nrenew_days = 30");
    let (of_cloud, place) = (dir.path().join("cloud"), dir.path().join("box"));
    let cloud_shim = Shim::new(&of_cloud.join("data"));
    let mut cloud = Cloud::start_with_ingress(&of_cloud, &keys, cloud_shim.env()).await;
    // Sessions of people end with the days that pass.
    cloud.use_key().await;
    let shim = Shim::new(&place.join("data"));
    let setup = Setup { devices: registers_device(plc.addr, 1, 50), env: shim.env(), ..Setup::default() };
    let mut gateway = Gateway::start(&place, &setup).await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    assert_eq!(certificates(&cloud).await.len(), 1);

    // The box's clock says that a third of the certificate's time is left: it asks in its next session.
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    shim.control.set(Number::ClockUs, 20 * 3_600_000_000);
    let gateway = Gateway::start(&place, &setup).await;
    until("a renewed certificate", LIMIT, || async { (certificates(&cloud).await.len() == 2).then_some(()) })
        .await;
    let all = certificates(&cloud).await;
    assert!(all[0].key == all[1].key && all.iter().all(|c| c.revoked_us.is_none()), "{all:?}");
    let own = || async { gateway.api().get::<IdentityView>("/api/v1/identity").await.serial };
    until("the box's own", LIMIT, || async { (own().await == all[0].serial).then_some(()) }).await;
    let view: GatewayView = cloud.api().get::<Page<GatewayView>>("/api/v1/gateways").await.items.remove(0);
    assert!(view.connected);
    assert_eq!(entries(&cloud, action::GATEWAY_CERTIFICATE).await.len(), 1);

    // It was away for a week, and the certificate has expired. Its own clock was never put right, so the cloud says it.
    let mut gateway = gateway;
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    let week = 7 * 24 * 3_600_000_000;
    cloud_shim.control.set(Number::ClockUs, week);
    shim.control.set(Number::ClockUs, 0);
    let mut gateway = Gateway::start(&place, &setup).await;
    until("one that is good again", LIMIT, || async {
        (certificates(&cloud).await.len() == 3).then_some(())
    })
    .await;
    let now: IdentityView = until("the box's own, good again", LIMIT, || async {
        let view: IdentityView = gateway.api().get("/api/v1/identity").await;
        (view.not_after_us > all[0].not_after_us).then_some(view)
    })
    .await;

    // Beyond the time that it may be away for, it has to be enrolled again.
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;
    cloud_shim.control.set(Number::ClockUs, 10 * week);
    shim.control.set(Number::ClockUs, 10 * week);
    let gateway = Gateway::start(&place, &setup).await;
    let why = until("a refusal", LIMIT, || async { gateway.health().await.uplink_error }).await;
    assert!(why.contains("ertificate"), "{why}");
    assert_eq!(gateway.api().get::<IdentityView>("/api/v1/identity").await, now);
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_of_the_cloud_that_was_ahead_for_a_while_locks_nobody_out() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let of_cloud = dir.path().join("cloud");
    let cloud_shim = Shim::new(&of_cloud.join("data"));
    let mut cloud = Cloud::start_with_ingress(&of_cloud, NAMES, cloud_shim.env()).await;
    cloud.use_key().await;
    let setup = Setup { devices: registers_device(plc.addr, 1, 50), ..Setup::default() };
    let place = dir.path().join("box");
    let mut gateway = Gateway::start(&place, &setup).await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;

    // For a while somebody's server of time is wrong: who comes meanwhile gets a certificate of that time.
    cloud_shim.control.set(Number::ClockUs, 300 * 24 * 3_600_000_000);
    let mut gateway = Gateway::start(&place, &setup).await;
    until("a certificate of that time", LIMIT, || async {
        (certificates(&cloud).await.len() == 2).then_some(())
    })
    .await;
    let of_then: IdentityView = until("the box's own", LIMIT, || async {
        let view: IdentityView = gateway.api().get("/api/v1/identity").await;
        (view.serial == certificates(&cloud).await[0].serial).then_some(view)
    })
    .await;
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;

    // The clock is right again: the box comes back, and what was issued for a time to come is replaced.
    cloud_shim.control.set(Number::ClockUs, 0);
    let gateway = Gateway::start(&place, &setup).await;
    until("a session", LIMIT, || async { gateway.health().await.uplink.then_some(()) }).await;
    until("one of today", LIMIT, || async {
        let view: IdentityView = gateway.api().get("/api/v1/identity").await;
        (view.not_before_us < of_then.not_before_us).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_to_a_wrong_address_or_authority_leaves_the_box_its_identity() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let (of_cloud, place) = (dir.path().join("cloud"), dir.path().join("box"));
    let short = format!("{NAMES}\ncertificate_days = 1");
    let cloud = Cloud::start_with_ingress(&of_cloud, &short, Vec::new()).await;
    let shim = Shim::new(&place.join("data"));
    let setup = Setup { devices: registers_device(plc.addr, 1, 50), env: shim.env(), ..Setup::default() };
    let mut gateway = Gateway::start(&place, &setup).await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    plc.set(0, 11);
    value(&cloud, 1.1).await;
    let first: IdentityView = gateway.api().get("/api/v1/identity").await;
    let beside = place.join("data/identity/renewed.json");
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;

    // Somebody mistypes where boxes find the cloud, and there is somebody who never answers. It is time to renew.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let wrong = format!("mqtts://{}", silent.local_addr().expect("an address"));
    cloud.set_ingress(&format!("{short}\nurl = {wrong:?}"));
    let cloud = cloud.restart().await;
    shim.control.set(Number::ClockUs, 20 * 3_600_000_000);
    let mut gateway = Gateway::start(&place, &setup).await;
    until("what it was renewed to", LIMIT, || async { beside.exists().then_some(()) }).await;
    // At this very moment the box is cut off: both are there at its next start.
    gateway.process.kill();
    assert_eq!(certificates(&cloud).await.len(), 2);
    let mut gateway = Gateway::start(&place, &setup).await;
    assert!(beside.exists());
    plc.set(0, 22);
    value(&cloud, 2.2).await;
    let why = cloud.api().told("what is wrong", action::GATEWAY_RENEWAL_FAILED).await;
    assert!(why.detail.contains(&wrong) && why.severity == Severity::Alarm, "{why:?}");
    until("the one that is of no use, gone", LIMIT, || async { (!beside.exists()).then_some(()) }).await;
    let now: IdentityView = gateway.api().get("/api/v1/identity").await;
    assert_eq!(now, first);
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;

    // The address is right again, and boxes are told to believe somebody who did not sign the ingress's certificate.
    let file = |name: &str| of_cloud.join(name);
    let (own, stranger) = (file("data/authority/ingress.pem"), file("stranger.pem"));
    let made = rcgen::generate_simple_self_signed(["stranger".to_owned()]).expect("a certificate");
    std::fs::write(&stranger, made.cert.pem()).expect("a file");
    std::fs::copy(&own, file("ingress.pem")).expect("a copy");
    let url = format!("mqtts://127.0.0.1:{}", cloud.ingress.port());
    let files = format!("tls_cert = {0:?}\ntls_key = {0:?}\ntls_ca = {stranger:?}", file("ingress.pem"));
    cloud.set_ingress(&format!("{files}\nurl = {url:?}\ncertificate_days = 1"));
    let cloud = cloud.restart().await;
    let mut gateway = Gateway::start(&place, &setup).await;
    until("the second one that is wrong", LIMIT, || async {
        (entries(&cloud, action::GATEWAY_RENEWAL_FAILED).await.len() == 2).then_some(())
    })
    .await;
    plc.set(0, 55);
    value(&cloud, 5.5).await;
    assert_eq!(gateway.api().get::<IdentityView>("/api/v1/identity").await, first);
    gateway.process.signal("TERM");
    gateway.process.wait(LIMIT).await;

    // All is right again: it is renewed, connects with that, and the one before gives way.
    cloud.set_ingress(&short);
    let cloud = cloud.restart().await;
    let gateway = Gateway::start(&place, &setup).await;
    until("the box's own, renewed", LIMIT, || async {
        let own: IdentityView = gateway.api().get("/api/v1/identity").await;
        (own.serial == certificates(&cloud).await[0].serial && gateway.health().await.uplink).then_some(())
    })
    .await;
    assert!(!beside.exists());
    plc.set(0, 44);
    value(&cloud, 4.4).await;
}

/// Has `twinway-cloud` do something with the configuration of a cloud, to its end.
async fn at_machine(of_cloud: &Path, words: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(program("twinway-cloud"));
    command.args(words).arg("--config").arg(of_cloud.join("cloud.toml"));
    let done =
        tokio::task::spawn_blocking(move || command.output().expect("it runs")).await.expect("it ends");
    let text = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    (done.status.code(), text.concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cloud_whose_authority_is_gone_makes_none_by_itself_while_boxes_are_enrolled() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let (of_cloud, place) = (dir.path().join("cloud"), dir.path().join("box"));
    let mut cloud = Cloud::start_with_ingress(&of_cloud, NAMES, Vec::new()).await;
    let setup = Setup { devices: registers_device(plc.addr, 1, 50), ..Setup::default() };
    let gateway = Gateway::start(&place, &setup).await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    plc.set(0, 11);
    value(&cloud, 1.1).await;
    cloud.process.signal("TERM");
    cloud.process.wait(LIMIT).await;

    let (folder, away) = (of_cloud.join("data/authority"), dir.path().join("away"));
    std::fs::rename(&folder, &away).expect("moved");
    let (status, told) = at_machine(&of_cloud, &["run"]).await;
    assert_eq!(status, Some(64), "a service manager does not try again: {told}");
    let names =
        [folder.to_str().expect("a UTF-8 path"), "1 gateway ", "backup", "twinway-cloud new-authority"];
    assert!(names.iter().all(|name| told.contains(name)), "{told}");
    assert!(!folder.exists());

    // The backup is put back: as it was, and no other is made over it.
    std::fs::rename(&away, &folder).expect("moved");
    let (status, told) = at_machine(&of_cloud, &["new-authority"]).await;
    assert!(status == Some(1) && told.contains("authority.key is there"), "{told}");
    let mut cloud = cloud.restart().await;
    plc.set(0, 22);
    value(&cloud, 2.2).await;
    cloud.process.signal("TERM");
    cloud.process.wait(LIMIT).await;

    // There is no backup: another one is made by somebody who knows what it costs.
    std::fs::remove_dir_all(&folder).expect("removed");
    let (status, told) = at_machine(&of_cloud, &["new-authority"]).await;
    assert!(status == Some(0) && told.contains("1 gateway to be enrolled again"), "{told}");
    let cloud = cloud.restart().await;
    cloud.api().told("the new authority", action::AUTHORITY_MADE).await;
    plc.set(0, 55);
    until("a box that is locked out", LIMIT, || async { gateway.health().await.uplink_error.map(drop) })
        .await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    value(&cloud, 5.5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_revoked_after_a_backup_stays_so_when_the_backup_is_restored() {
    let dir = tempfile::tempdir().expect("a folder");
    let plc = ModbusDevice::start().await;
    let (of_cloud, place) = (dir.path().join("cloud"), dir.path().join("box"));
    let cloud = Cloud::start_with_ingress(&of_cloud, NAMES, Vec::new()).await;
    let setup = Setup { devices: registers_device(plc.addr, 1, 50), ..Setup::default() };
    let gateway = Gateway::start(&place, &setup).await;
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    plc.set(0, 11);
    value(&cloud, 1.1).await;

    let file = dir.path().join("backup.db");
    let file = file.to_str().expect("a UTF-8 path");
    let open = code(&cloud, "box1").await;
    let (status, told) = at_machine(&of_cloud, &["backup", "--to", file]).await;
    assert!(status == Some(0) && told.contains("not in it: ") && told.contains("data/authority"), "{told}");
    json(&at_cloud(&cloud, &["gateway", "revoke", "box1", "--reason", "stolen"]).await);
    until("a box that is locked out", LIMIT, || async { (!gateway.health().await.uplink).then_some(()) })
        .await;
    let before = certificates(&cloud).await;
    let mut cloud = cloud;
    cloud.process.signal("TERM");
    cloud.process.wait(LIMIT).await;

    let (status, told) = at_machine(&of_cloud, &["restore", "--from", file, "--replace"]).await;
    assert!(status == Some(0) && told.contains("revocations.jsonl lists is revoked again"), "{told}");
    let cloud = cloud.restart().await;
    assert_eq!(certificates(&cloud).await, before, "revoked, as it was");
    let told = cloud.api().told("what was revoked again", action::GATEWAY_REVOKED).await;
    assert!(told.actor == "system" && told.detail.contains("after the backup"), "{told:?}");
    plc.set(0, 22);
    until("a refusal by the restored cloud", LIMIT, || cloud.find_metric(CREDENTIALS)).await;
    assert!(!gateway.health().await.uplink);
    // A code that was open in the backup was taken back by the revocation.
    let again = enrol(&place, &cloud, &open).await;
    assert!(String::from_utf8_lossy(&again.stderr).contains("used up"), "{again:?}");
    json(&enrol(&place, &cloud, &code(&cloud, "box1").await).await);
    value(&cloud, 2.2).await;
}

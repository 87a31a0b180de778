//! What an administrator does with the cloud's database, cut by kills; and what he does when the database was spoilt. Each
//! is done as the platform guide says: once more from the beginning, or a backup in the place of what cannot be used.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::clock::format_us;
use reqwest::{Method, StatusCode};
use tokio::time::{sleep, timeout};

use super::damage::spoil_database;
use super::draw::{Spoilt, Task};
use super::link::Link;
use super::shim::{Number, Shim};
use super::site::{BACK_US, POINTS, RATE};
use crate::{Api, Cloud};

/// How long a task may take.
const LIMIT: Duration = Duration::from_secs(20);
/// How long a cloud may take until it has what comes, after its database was spoilt.
const WORKS_WITHIN: Duration = Duration::from_secs(4);
/// A point that is kept for a day.
const KEPT_SHORTLY: &str =
    "[[history.classes]]\npoints = [\"plant/hall/load/p4\"]\nraw_days = 1\nrollup_days = 1\n";
/// What a restore leaves of the database that was there.
const BEFORE: &str = "cloud.db.before-restore";

/// A part of a point's history that was deleted on request, by numbers; the last is not of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The point.
    pub point: u64,
    /// First number.
    pub from: u64,
    /// Number behind the last.
    pub to: u64,
}

impl Deleted {
    /// Whether a number is of it.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        number % POINTS == self.point && (self.from..self.to).contains(&number)
    }
}

/// What became of the cloud's database.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// It is one from before.
    pub(super) restored: bool,
    /// Its clock jumped.
    pub(super) untimed: bool,
    /// The backup that is at hand since its files were spoilt; none: they were not.
    pub(super) spoilt: Option<PathBuf>,
    /// What was done to it, in words.
    pub(super) told: Vec<String>,
    pub(super) deleted: Vec<Deleted>,
    /// What was beyond its time for a while: it may be gone.
    pub(super) expired: Vec<Deleted>,
    tasks: u64,
}

/// Who may do what with the cloud.
pub(super) struct Hands<'a> {
    pub(super) cloud: &'a mut Cloud,
    pub(super) shim: &'a mut Shim,
    pub(super) link: &'a Link,
    /// Odd while the cloud is down.
    pub(super) lives: &'a AtomicU64,
    pub(super) base_us: i64,
}

impl Hands<'_> {
    fn data(&self) -> PathBuf {
        self.cloud.dir().join("data")
    }

    fn kill(&mut self) {
        self.lives.fetch_add(1, Ordering::SeqCst);
        self.cloud.process.kill();
        self.shim.ended();
    }

    async fn start(&mut self) {
        self.shim.rebase();
        self.cloud.try_restart().await.unwrap_or_else(|why| panic!("the cloud does not start: {why}"));
        self.lives.fetch_add(1, Ordering::SeqCst);
    }

    /// Does a task to its end; what it says if it fails.
    async fn task(&self, args: &[&str]) -> Result<(), String> {
        let log = self.cloud.dir().join("admin.log");
        let before = fs::read_to_string(&log).unwrap_or_default().len();
        let mut process = self.cloud.administer(args);
        if process.wait(LIMIT).await.success() {
            return Ok(());
        }
        let said = fs::read_to_string(&log).unwrap_or_default().split_off(before);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        Err(said)
    }

    async fn done(&self, args: &[&str]) {
        self.task(args).await.unwrap_or_else(|why| panic!("{args:?} fails: {why}"));
    }

    /// Begins a task and kills it.
    async fn cut(&self, args: &[&str], after: Duration) {
        let mut process = self.cloud.administer(args);
        sleep(after).await;
        process.kill();
    }

    /// Puts a backup in the place of the database, while the cloud is down. What the cloud said since is not known any more.
    async fn restore(&self, backup: &Path) {
        let args = ["restore", "--from", text(backup), "--replace"];
        if let Err(why) = self.task(&args).await {
            assert!(why.contains("move it elsewhere first"), "{why}");
            self.move_elsewhere();
            self.done(&args).await;
        }
        self.move_elsewhere();
        self.link.cloud_restored();
    }

    fn move_elsewhere(&self) {
        each_part(|end| drop(fs::remove_file(with(&self.data().join(BEFORE), end))));
    }

    /// Makes a backup while the cloud runs.
    async fn back_up(&self, fate: &mut Fate) -> PathBuf {
        let backup = self.new_backup(fate);
        self.done(&["backup", "--to", text(&backup)]).await;
        backup
    }

    fn new_backup(&self, fate: &mut Fate) -> PathBuf {
        fate.tasks += 1;
        self.cloud.dir().join(format!("backup-{}.db", fate.tasks))
    }

    /// A task that is cut, and then done.
    pub(super) async fn cut_task(&mut self, task: Task, after: Duration, fate: &mut Fate) {
        match task {
            Task::Backup => {
                let backup = self.new_backup(fate);
                let args = ["backup", "--to", text(&backup)];
                self.cut(&args, after).await;
                // It may have been done by then: what has its name is whole.
                if !backup.exists() {
                    self.done(&args).await;
                }
                self.done(&["verify", text(&backup)]).await;
            }
            Task::Restore => {
                let backup = self.back_up(fate).await;
                sleep(Duration::from_millis(200)).await;
                self.kill();
                self.cut(&["restore", "--from", text(&backup), "--replace"], after).await;
                // Half of the times nobody looks, and the cloud is started on what is there, if it can be.
                self.link.cloud_restored();
                fate.restored = true;
                self.shim.rebase();
                if after.as_millis().is_multiple_of(2) && self.cloud.try_restart().await.is_ok() {
                    self.lives.fetch_add(1, Ordering::SeqCst);
                } else {
                    self.restore(&backup).await;
                    self.start().await;
                }
                self.delete_again(fate).await;
            }
            Task::Migrate => {
                self.kill();
                let (from, to) = (self.data().join("cloud.db"), self.cloud.dir().join("copy.db"));
                let args = ["migrate-store", "--from", text(&from), "--to", text(&to)];
                self.cut(&args, after).await;
                // The half that is there is refused; a whole one is not empty. Either goes.
                each_part(|end| drop(fs::remove_file(with(&to, end))));
                self.done(&args).await;
                each_part(|end| drop(fs::remove_file(with(&from, end))));
                each_part(|end| drop(fs::rename(with(&to, end), with(&from, end))));
                self.start().await;
            }
            Task::Upgrade => {
                self.kill();
                downgrade(&self.data().join("cloud.db"));
                self.cut_start(after).await;
                self.start().await;
            }
            Task::Retention => {
                self.kill();
                let more = self.cloud.dir().join("conf.d/more.toml");
                let sections = fs::read_to_string(&more).expect("a configuration");
                if !sections.contains(KEPT_SHORTLY) {
                    fs::write(&more, sections + KEPT_SHORTLY).expect("a configuration");
                }
                self.shim.control.set(Number::ClockUs, 3 * 86_400_000_000);
                self.cut_start(after).await;
                self.shim.control.set(Number::ClockUs, 0);
                // Not more than the sensor had made by then.
                let made_us = common::Clock::system().now_us() - self.base_us - BACK_US;
                let to = made_us.cast_unsigned() * RATE / 1_000_000;
                fate.expired.push(Deleted { point: 4, from: 0, to });
                fate.untimed = true;
                self.start().await;
            }
            Task::Delete => {
                let Some(deleted) = self.choose(fate.tasks).await else { return };
                fate.tasks += 1;
                let api = self.cloud.api().unpooled();
                let request = tokio::spawn(delete(api, deleted, self.base_us));
                sleep(after).await;
                self.kill();
                // Whether it was answered or not, it is asked for again.
                let _ = request.await;
                self.start().await;
                fate.deleted.push(deleted);
                self.delete_again(fate).await;
            }
        }
    }

    /// Starts the cloud and kills it, wherever it is by then.
    async fn cut_start(&mut self, after: Duration) {
        self.shim.rebase();
        let mut starting = self.cloud.begin();
        sleep(after).await;
        starting.kill();
        self.shim.ended();
    }

    /// What is there of a point's history, from the second quarter on.
    async fn choose(&self, n: u64) -> Option<Deleted> {
        let point = n % POINTS;
        let query = format!("from={}&to={}&max_points=10000", self.base_us, self.base_us + 40_000);
        let page = self.cloud.api().history("hall/load", &format!("p{point}"), &query).await;
        let at = |part: usize| page.points.get(page.points.len() * part / 8);
        let number = |us: i64| u64::try_from(us - self.base_us).ok();
        let (from, to) = (number(at(2)?.t_us)?, number(at(3)?.t_us)?);
        (from < to).then_some(Deleted { point, from, to })
    }

    /// Deletes by a list of our own what a database from before may have again.
    pub(super) async fn delete_again(&self, fate: &Fate) {
        for deleted in &fate.deleted {
            let done = timeout(LIMIT, async {
                while !delete(self.cloud.api().unpooled(), *deleted, self.base_us).await {
                    sleep(Duration::from_millis(20)).await;
                }
            });
            done.await.unwrap_or_else(|_| panic!("{deleted:?} cannot be deleted"));
        }
    }

    /// Spoils the database: the cloud starts, or says that it cannot and what to do; that is done then.
    pub(super) async fn spoil(&mut self, what: Spoilt, after: Duration, seed: u64, fate: &mut Fate) {
        let backup = self.back_up(fate).await;
        sleep(after).await;
        self.kill();
        fate.told.push(spoil_database(&self.data(), what, seed));
        fate.spoilt = Some(backup.clone());
        self.shim.rebase();
        // What was in the part that is gone the box sends again.
        self.link.cloud_restored();
        if let Err(why) = self.cloud.try_restart().await {
            assert!(why.contains("twinway-cloud restore"), "it does not say what to do: {why}");
            is_clear(&why, fate);
            self.restore(&backup).await;
            fate.restored = true;
            return self.start().await;
        }
        self.lives.fetch_add(1, Ordering::SeqCst);
        // It may be back where it knew nobody: whoever asks sees it at once.
        let twins = self.cloud.api().unpooled().request(Method::GET, "/api/v1/twins").send().await;
        if twins.is_ok_and(|answer| answer.status() == StatusCode::UNAUTHORIZED) {
            self.replace(&backup, fate).await;
        }
    }

    /// A cloud that runs and is not well says why, and a backup takes its place.
    async fn replace(&mut self, backup: &Path, fate: &mut Fate) {
        self.kill();
        is_clear(&self.cloud.process.log(), fate);
        self.restore(backup).await;
        fate.restored = true;
        self.start().await;
    }

    /// Once nothing is broken any more: a cloud whose database was spoilt takes what comes and reads what it has, or says that it
    /// does not, and a backup takes its place.
    pub(super) async fn see(&mut self, fate: &mut Fate) {
        let Some(backup) = fate.spoilt.clone().filter(|_| !fate.restored) else { return };
        let api = self.cloud.api().unpooled();
        let works = async {
            let before = seen(&api).await;
            while before.is_none() || seen(&api).await == before {
                sleep(Duration::from_millis(50)).await;
            }
        };
        if timeout(WORKS_WITHIN, works).await.is_ok() && is_readable(&api, self.base_us).await {
            return;
        }
        self.replace(&backup, fate).await;
    }
}

/// As the program of version 13 of the database had it.
fn downgrade(path: &Path) {
    let conn = rusqlite::Connection::open(path).expect("the database");
    let sql = "DROP TABLE lacking; DROP TABLE damaged; DROP TABLE set_aside_removed;
               ALTER TABLE series DROP COLUMN unit; ALTER TABLE series DROP COLUMN value_type;
               ALTER TABLE series DROP COLUMN gone_us; ALTER TABLE gaps DROP COLUMN class;
               DROP INDEX gaps_lost; ALTER TABLE gaps DROP COLUMN lost; PRAGMA user_version = 13;";
    conn.execute_batch(sql).expect("an older form");
}

/// What a program says of a damaged database names the damage.
fn is_clear(said: &str, fate: &mut Fate) {
    let is_clear = !said.contains("panicked") && said.contains("damaged");
    assert!(is_clear, "after {:?} the cloud says: {said}", fate.told);
    fate.told.push("refused".into());
}

/// The last value of a point.
async fn seen(api: &Api) -> Option<common::Value> {
    timeout(Duration::from_secs(1), api.value("hall/load", "p0")).await.ok().flatten()
}

/// Whether all of the history, the audit and the twins can be read.
async fn is_readable(api: &Api, base_us: i64) -> bool {
    let range = format!("from={base_us}&to={}&max_points=10000", base_us + 40_000);
    let of = |point| format!("/api/v1/twins/hall%2Fload/points/p{point}/history?{range}");
    let mut paths: Vec<String> = (0..POINTS).map(of).collect();
    paths.push("/api/v1/audit?limit=1000".into());
    paths.push("/api/v1/twins?limit=100".into());
    for path in paths {
        if api.try_get::<serde_json::Value>(&path).await.is_none() {
            return false;
        }
    }
    true
}

/// Whether it was done.
async fn delete(api: Api, deleted: Deleted, base_us: i64) -> bool {
    let us = |number: u64| format_us(base_us + number.cast_signed());
    let path = format!("/api/v1/twins/hall%2Fload/points/p{}/history", deleted.point);
    let range = [("from", us(deleted.from)), ("to", us(deleted.to)), ("reason", "drawn".into())];
    let asked = api.request(Method::DELETE, &path).query(&range).send().await;
    asked.is_ok_and(|answer| answer.status().is_success())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

fn with(path: &Path, end: &str) -> PathBuf {
    PathBuf::from(format!("{}{end}", path.display()))
}

/// A database and what stands beside it, by the ends of their names.
fn each_part(act: impl Fn(&str)) {
    ["", "-wal", "-shm", ".lock"].into_iter().for_each(act);
}

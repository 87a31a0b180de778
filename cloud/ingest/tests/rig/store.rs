//! Storage in memory that fails or waits on demand: frames, commands, alarms, boxes.

use super::*;

/// Storage in memory.
pub struct Store {
    pub marks: Mutex<HashMap<Incarnation, (u64, IntervalSet)>>,
    pub schemas: Mutex<Vec<(SchemaHash, u64)>>,
    pub audit: Mutex<Vec<LogEntry>>,
    /// Commits wait while this is false.
    pub open: watch::Sender<bool>,
    /// So many commits fail first.
    pub failing: AtomicUsize,
    /// Sequences whose content is refused.
    pub refusing: Mutex<Vec<u64>>,
    pub boxes: Mutex<HashMap<GatewayKey, Boxes>>,
    pub aside: Mutex<Vec<SetAside>>,
    pub commits: AtomicUsize,
    /// Samples that it says it has to compact.
    pub waiting: AtomicUsize,
    /// The configuration document that is wanted, and what the box told.
    pub wanted: Mutex<Option<ConfigurationDocument>>,
    pub report: Mutex<Option<ConfigurationReport>>,
    /// The bundle that there is, and what the box told of updates.
    pub bundle: Mutex<Vec<u8>>,
    pub update: Mutex<Option<UpdateReport>>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            marks: Mutex::default(),
            schemas: Mutex::default(),
            audit: Mutex::default(),
            open: watch::Sender::new(true),
            failing: AtomicUsize::new(0),
            refusing: Mutex::default(),
            boxes: Mutex::default(),
            aside: Mutex::default(),
            commits: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            wanted: Mutex::default(),
            report: Mutex::default(),
            bundle: Mutex::default(),
            update: Mutex::default(),
        }
    }
}

pub(super) fn none<T>(what: &str) -> Result<T, StoreError> {
    Err(StoreError::NotFound { what: what.into() })
}

#[async_trait]
impl FrameStorage for Store {
    fn store_id(&self) -> uuid::Uuid {
        uuid::Uuid::nil()
    }

    async fn hello(&self, _: &GatewayKey, all: &[Incarnation]) -> Result<Vec<KnownIncarnation>, StoreError> {
        let mut marks = self.marks.lock().unwrap();
        let mut known = Vec::new();
        for &incarnation in all {
            let rank = marks.len() as u64 + 1;
            let (rank, seqs) = marks.entry(incarnation).or_insert((rank, IntervalSet::new())).clone();
            known.push(KnownIncarnation { incarnation, rank, seqs });
        }
        Ok(known)
    }

    async fn accept(&self, frames: &[NewFrame]) -> Result<Vec<bool>, StoreError> {
        self.open.subscribe().wait_for(|open| *open).await.unwrap();
        let fails =
            self.failing.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok();
        if fails {
            return Err(StoreError::Database { detail: "on purpose".into() });
        }
        if frames.iter().any(|f| self.refusing.lock().unwrap().contains(&f.frame.header.seq)) {
            return Err(StoreError::Refused { what: "not this one".into() });
        }
        self.commits.fetch_add(1, Ordering::SeqCst);
        let mut marks = self.marks.lock().unwrap();
        let mut new = |f: &NewFrame| {
            let header = &f.frame.header;
            marks.get_mut(&header.incarnation).expect("hello came first").1.insert(header.seq)
        };
        Ok(frames.iter().map(&mut new).collect())
    }

    async fn put_schema(&self, _: &GatewayKey, schema: &Schema, rank: u64, _: i64) -> Result<(), StoreError> {
        self.schemas.lock().unwrap().push((schema.hash(), rank));
        Ok(())
    }

    async fn known_schemas(&self, _: &[SchemaHash]) -> Result<Vec<SchemaHash>, StoreError> {
        Ok(vec![])
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn waiting_samples(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    async fn uncompacted(&self, _: Option<(u64, u64)>, _: usize) -> Result<Vec<NewFrame>, StoreError> {
        Ok(vec![])
    }

    async fn compact_frames(&self, _: usize) -> Result<usize, StoreError> {
        Ok(0)
    }

    async fn room(&self) -> Result<cloud_core::storage::Room, StoreError> {
        none("room")
    }

    async fn upkeep(&self, _: Duration) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn history(&self, _: TwinId, _: &str, _: i64, _: i64, _: usize) -> Result<History, StoreError> {
        none("history")
    }
}

#[async_trait]
impl HistoryStorage for Store {
    async fn aligned(
        &self,
        _: &[AlignedPoint],
        _: Grid,
        _: Interpolation,
        _: i64,
    ) -> Result<Vec<Column>, StoreError> {
        none("history")
    }

    async fn durations(&self, _: TwinId, _: &str, _: Spans) -> Result<Durations, StoreError> {
        none("history")
    }

    async fn samples(&self, _: TwinId, _: &str, _: i64, _: i64, _: usize) -> Result<SamplePage, StoreError> {
        none("history")
    }

    async fn stored_point(&self, _: TwinId, _: &str) -> Result<Option<StoredPoint>, StoreError> {
        none("history")
    }

    async fn stored_points(&self, _: TwinId) -> Result<Vec<StoredPoint>, StoreError> {
        none("history")
    }

    async fn delete_history(
        &self,
        _: TwinId,
        _: &str,
        _: i64,
        _: i64,
        _: &LogEntry,
    ) -> Result<u64, StoreError> {
        none("history")
    }
}

#[async_trait]
impl CommandStorage for Store {
    async fn create_command(
        &self,
        _: &CommandView,
        _: &str,
        _: &[u8],
        _: &LogEntry,
    ) -> Result<Created, StoreError> {
        none("command")
    }

    async fn command_by_key(&self, _: &str, _: &str) -> Result<Option<(CommandView, Vec<u8>)>, StoreError> {
        Ok(None)
    }

    async fn update_command(&self, _: &CommandUpdate) -> Result<CommandView, StoreError> {
        none("command")
    }

    async fn command(&self, _: CommandId) -> Result<CommandView, StoreError> {
        none("command")
    }

    async fn commands(
        &self,
        _: Option<&[TwinId]>,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<CommandView>, StoreError> {
        none("commands")
    }

    async fn open_commands(&self, _: &[CommandState]) -> Result<Vec<CommandView>, StoreError> {
        Ok(vec![])
    }

    async fn patch_desired(
        &self,
        _: TwinId,
        _: u64,
        _: &[(String, Option<DesiredEntry>)],
        _: &Requester,
        _: i64,
        _: &LogEntry,
    ) -> Result<(u64, Vec<(String, Option<DesiredView>)>), StoreError> {
        none("twin")
    }

    async fn desired(&self, _: TwinId, _: &str) -> Result<Option<DesiredView>, StoreError> {
        Ok(None)
    }

    async fn update_desired(&self, _: &DesiredUpdate) -> Result<Option<DesiredView>, StoreError> {
        Ok(None)
    }
}

#[async_trait]
impl cloud_core::storage::AlarmStorage for Store {
    async fn alarm(&self, _: common::AlarmId) -> Result<common::AlarmView, StoreError> {
        none("alarm")
    }
    async fn alarms(
        &self,
        _: Option<&[TwinId]>,
        _: bool,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<common::AlarmView>, StoreError> {
        none("alarm")
    }
}

#[async_trait]
impl AuditStorage for Store {
    async fn append_audit(&self, entry: &LogEntry) -> Result<(), StoreError> {
        self.audit.lock().unwrap().push(entry.clone());
        Ok(())
    }

    async fn audit(
        &self,
        _: Option<&[TwinId]>,
        _: Severity,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<LogEntry>, StoreError> {
        none("audit")
    }
}

#[async_trait]
impl BoxStorage for Store {
    async fn boxes(&self, gateway: &GatewayKey) -> Result<Boxes, StoreError> {
        Ok(self.boxes.lock().unwrap().get(gateway).cloned().unwrap_or_default())
    }

    async fn keep_boxes(
        &self,
        gateway: &GatewayKey,
        boxes: &Boxes,
        audit: &[LogEntry],
    ) -> Result<(), StoreError> {
        self.boxes.lock().unwrap().insert(gateway.clone(), boxes.clone());
        self.audit.lock().unwrap().extend_from_slice(audit);
        Ok(())
    }

    async fn set_aside(&self, frames: &[SetAside], audit: &[LogEntry]) -> Result<KeptAside, StoreError> {
        let mut marks = self.marks.lock().unwrap();
        let mut aside = self.aside.lock().unwrap();
        let mut new = Vec::new();
        for frame in frames {
            let known = frame.name.and_then(|(rank, seq)| {
                marks.values_mut().find(|(r, _)| *r == rank).map(|(_, seqs)| !seqs.insert(seq))
            });
            let known = known.unwrap_or_else(|| aside.iter().any(|a| a.bytes == frame.bytes));
            new.push(!known);
            if !known {
                aside.push(frame.clone());
            }
        }
        self.audit.lock().unwrap().extend_from_slice(audit);
        // As if one were kept: of each that is new another has to go, if there was one.
        let removed = if new == [true] && aside.len() > 1 { 1 } else { 0 };
        Ok(KeptAside { new, removed: AsideRemoved { frames: removed, bytes: removed * 9 } })
    }

    async fn set_aside_removed(&self, _: &GatewayKey) -> Result<AsideRemoved, StoreError> {
        none("removed")
    }

    async fn set_aside_bytes(&self, _: &GatewayKey, _: i64) -> Result<Option<Vec<u8>>, StoreError> {
        none("bytes")
    }

    async fn set_aside_page(
        &self,
        _: &GatewayKey,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<SetAsideView>, StoreError> {
        none("page")
    }

    async fn set_aside_names(&self, _: &GatewayKey) -> Result<Vec<Known>, StoreError> {
        let (marks, aside) = (self.marks.lock().unwrap(), self.aside.lock().unwrap());
        let mut names = Vec::new();
        for (rank, seq) in aside.iter().filter_map(|a| a.name) {
            let incarnation = *marks.iter().find(|(_, (r, _))| *r == rank).expect("a rank").0;
            names.push(Known { incarnation, seqs: vec![(seq, seq)].into() });
        }
        Ok(names)
    }
}

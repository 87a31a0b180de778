//! A server's nodes, level by level: as many calls at once as the server bears, every continuation point followed to
//! its end, and never more nodes than were asked for.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use common::Label;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use opcua::client::Session;
use opcua::types::{
    AttributeId, BrowseDescription, BrowseDirection, ByteString, DataTypeId, DataValue, Error, NodeClass,
    NodeId, ReadValueId, ReferenceDescription, ReferenceTypeId, StatusCode, Variant, VariantScalarTypeId,
};
use tokio::time::Instant;

use super::labels::{self, Property};
use super::limits::Limits;
use super::types;

/// Most nodes of one call: more gains nothing, and its answer is large.
const PER_CALL: usize = 100;
/// References of a node in one answer, if it has more there is a continuation.
const PER_NODE: u32 = 1000;
/// Objects, variables and methods.
const CLASSES: u32 = 1 | 2 | 4;
/// All fields but the type definition.
const FIELDS: u32 = 0x1f;
/// A node that no continuation point is left for is tried again so often.
const PATIENCE: u32 = 20;

/// What to browse.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Levels below the first node.
    pub depth: usize,
    /// Most nodes.
    pub nodes: usize,
    /// Longest time.
    pub time: Duration,
}

/// A node that was found.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its id in this session.
    pub node: NodeId,
    /// Names from the first node on, `/` between them.
    pub path: String,
    /// Object, variable or method.
    pub class: NodeClass,
    /// Number of the object that it hangs on, for methods; none below the first node.
    pub parent: Option<usize>,
    /// Type of a variable, once it was asked.
    pub scalar: Option<VariantScalarTypeId>,
    /// Elements of its array, of a variable that is one; 0 for one of any length.
    pub array: Option<u32>,
    /// Whether the one who is signed in may read and write it.
    pub access: (bool, bool),
    /// What its numbers mean, of an enumeration.
    pub labels: Vec<Label>,
}

/// What was found, and whether that is all.
#[derive(Debug, Clone, Default)]
pub struct Browsed {
    /// In the order of their levels.
    pub nodes: Vec<Found>,
    /// Why there may be more; none if this is all.
    pub cut: Option<String>,
    /// Most calls that were under way at once.
    pub parallel: usize,
}

enum Call {
    Browse(Vec<(usize, NodeId)>),
    Next(Vec<(usize, ByteString)>),
}

type Answer = (Call, Result<Vec<opcua::types::BrowseResult>, Error>, Duration);

/// How many calls run at once: one more after each good answer, half after each bad one.
struct Gauge {
    at: usize,
    most: usize,
    best: Option<Duration>,
    peak: usize,
}

impl Gauge {
    fn good(&mut self, took: Duration) {
        let best = self.best.map_or(took, |b| b.min(took));
        self.best = Some(best);
        // A server that takes ever longer works them off one after the other.
        if took < best * 8 + Duration::from_millis(20) {
            self.at = (self.at + 1).min(self.most);
        }
        self.peak = self.peak.max(self.at);
    }

    fn bad(&mut self) {
        self.at = (self.at / 2).max(1);
    }
}

struct Work {
    found: Browsed,
    seen: HashSet<NodeId>,
    /// Nodes whose references are still to be asked: number of the node, and its depth.
    open: VecDeque<(Option<usize>, NodeId, usize)>,
    continued: VecDeque<(usize, ByteString)>,
    /// What each call is about: number of the node and its depth.
    about: Vec<(Option<usize>, usize)>,
    size: usize,
    patience: u32,
}

/// Browses from a node on.
///
/// # Errors
/// When the connection is lost, or the server does not browse at all.
pub(super) async fn browse(
    session: &Session,
    limits: Limits,
    start: NodeId,
    bounds: &Bounds,
) -> Result<Browsed, Error> {
    let until = Instant::now() + bounds.time;
    let mut gauge = Gauge { at: 1, most: limits.parallel, best: None, peak: 1 };
    let mut work = Work {
        found: Browsed::default(),
        seen: HashSet::from([start.clone()]),
        open: VecDeque::from([(None, start, 0)]),
        continued: VecDeque::new(),
        about: Vec::new(),
        size: limits.browse.min(PER_CALL),
        patience: PATIENCE,
    };
    let mut running: FuturesUnordered<BoxFuture<'_, Answer>> = FuturesUnordered::new();
    loop {
        while running.len() < gauge.at
            && let Some(call) = work.next()
        {
            running.push(send(session, call).boxed());
        }
        let Some((call, answer, took)) = running.next().await else { break };
        match answer {
            Ok(results) => {
                gauge.good(took);
                work.take(call, results, bounds)?;
            }
            Err(error) if is_too_much(error.status()) && work.size > 1 => {
                gauge.bad();
                work.size = (work.size / 2).max(1);
                work.put_back(call);
            }
            Err(error) if error.status() == StatusCode::BadTimeout && work.patience > 0 => {
                gauge.bad();
                work.patience -= 1;
                work.put_back(call);
            }
            Err(error) => return Err(error),
        }
        if work.found.cut.is_none() && Instant::now() >= until {
            work.found.cut = Some(format!("the time of {:?} is over", bounds.time));
        }
        if work.found.cut.is_some() {
            break;
        }
    }
    drop(running);
    let left: Vec<ByteString> = work.continued.drain(..).map(|(_, point)| point).collect();
    if !left.is_empty() {
        // What the server keeps for us is given back.
        let _ = session.browse_next(true, &left).await;
    }
    work.found.parallel = gauge.peak;
    Ok(work.found)
}

async fn send(session: &Session, call: Call) -> Answer {
    let began = Instant::now();
    let answer = match &call {
        Call::Browse(nodes) => {
            let asked: Vec<_> = nodes.iter().map(|(_, node)| description(node)).collect();
            session.browse(&asked, PER_NODE, None).await
        }
        Call::Next(points) => {
            let asked: Vec<_> = points.iter().map(|(_, p)| p.clone()).collect();
            session.browse_next(false, &asked).await
        }
    };
    (call, answer, began.elapsed())
}

fn description(node: &NodeId) -> BrowseDescription {
    BrowseDescription {
        node_id: node.clone(),
        browse_direction: BrowseDirection::Forward,
        reference_type_id: ReferenceTypeId::HierarchicalReferences.into(),
        include_subtypes: true,
        node_class_mask: CLASSES,
        result_mask: FIELDS,
    }
}

fn is_too_much(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::BadTooManyOperations
            | StatusCode::BadEncodingLimitsExceeded
            | StatusCode::BadResponseTooLarge
            | StatusCode::BadRequestTooLarge
            | StatusCode::BadTcpMessageTooLarge
    )
}

impl Work {
    /// The next call: continuations first, which hold memory of the server.
    fn next(&mut self) -> Option<Call> {
        if !self.continued.is_empty() {
            let count = self.continued.len().min(self.size);
            return Some(Call::Next(self.continued.drain(..count).collect()));
        }
        let count = self.open.len().min(self.size);
        if count == 0 {
            return None;
        }
        let mut nodes = Vec::with_capacity(count);
        for (number, node, depth) in self.open.drain(..count) {
            nodes.push((self.about.len(), node));
            self.about.push((number, depth));
        }
        Some(Call::Browse(nodes))
    }

    fn put_back(&mut self, call: Call) {
        match call {
            Call::Browse(nodes) => {
                for (at, node) in nodes {
                    self.again(at, node);
                }
            }
            Call::Next(points) => self.continued.extend(points),
        }
    }

    fn again(&mut self, at: usize, node: NodeId) {
        let (number, depth) = self.about.get(at).copied().unwrap_or((None, 0));
        self.open.push_back((number, node, depth));
    }

    fn take(
        &mut self,
        call: Call,
        results: Vec<opcua::types::BrowseResult>,
        bounds: &Bounds,
    ) -> Result<(), Error> {
        let about: Vec<(usize, Option<NodeId>)> = match call {
            Call::Browse(nodes) => nodes.into_iter().map(|(at, node)| (at, Some(node))).collect(),
            Call::Next(points) => points.into_iter().map(|(at, _)| (at, None)).collect(),
        };
        for ((at, node), result) in about.into_iter().zip(results) {
            match (result.status_code, node) {
                (StatusCode::BadNoContinuationPoints, Some(node)) if self.patience > 0 => {
                    // The server has no room for one more: this node comes again, with fewer beside it.
                    self.patience -= 1;
                    self.size = (self.size / 2).max(1);
                    self.again(at, node);
                    continue;
                }
                (status, _) if status.is_bad() => {
                    if self.about.get(at).is_some_and(|(number, _)| number.is_none()) {
                        return Err(Error::new(status, "the node cannot be browsed"));
                    }
                    self.found.cut.get_or_insert_with(|| format!("a node cannot be browsed: {status}"));
                    continue;
                }
                _ => {}
            }
            if !result.continuation_point.is_null_or_empty() {
                self.continued.push_back((at, result.continuation_point));
            }
            let (parent, depth) = self.about.get(at).copied().unwrap_or((None, 0));
            for reference in result.references.into_iter().flatten() {
                self.reference(parent, depth, reference, bounds);
            }
        }
        Ok(())
    }

    fn reference(
        &mut self,
        parent: Option<usize>,
        depth: usize,
        reference: ReferenceDescription,
        bounds: &Bounds,
    ) {
        let node = reference.node_id.node_id;
        // A node of another server, or one that was met on another way.
        if reference.node_id.server_index != 0 || !self.seen.insert(node.clone()) {
            return;
        }
        if self.found.nodes.len() >= bounds.nodes {
            self.found.cut.get_or_insert_with(|| format!("there are more than {} nodes", bounds.nodes));
            return;
        }
        let name = reference.browse_name.name.as_ref();
        let path = match parent.and_then(|p| self.found.nodes.get(p)) {
            Some(parent) => format!("{}/{name}", parent.path),
            None => name.to_owned(),
        };
        let number = self.found.nodes.len();
        if depth + 1 < bounds.depth && reference.node_class != NodeClass::Method {
            self.open.push_back((Some(number), node.clone(), depth + 1));
        }
        self.found.nodes.push(Found {
            node,
            path,
            class: reference.node_class,
            parent,
            scalar: None,
            array: None,
            access: (false, false),
            labels: Vec::new(),
        });
    }
}

/// Asks types and access of the variables that were found.
///
/// # Errors
/// When the connection is lost.
pub(super) async fn details(session: &Session, limits: Limits, found: &mut [Found]) -> Result<(), Error> {
    let mut variables: Vec<&mut Found> =
        found.iter_mut().filter(|f| f.class == NodeClass::Variable).collect();
    let mut known: HashMap<NodeId, (Option<VariantScalarTypeId>, Vec<Label>)> = HashMap::new();
    const ASKED: [AttributeId; 4] = [
        AttributeId::DataType,
        AttributeId::ValueRank,
        AttributeId::ArrayDimensions,
        AttributeId::UserAccessLevel,
    ];
    for chunk in variables.chunks_mut((limits.read / ASKED.len()).max(1)) {
        let asked: Vec<ReadValueId> =
            chunk.iter().flat_map(|f| ASKED.map(|a| ReadValueId::new(f.node.clone(), a))).collect();
        let mut values = limits.read_in_parts(session, &asked).await?.into_iter();
        for variable in chunk.iter_mut() {
            let next: Vec<DataValue> = values.by_ref().take(ASKED.len()).collect();
            let [data_type, rank, dimensions, access] = next.as_slice() else { break };
            if let Some(Variant::Byte(bits)) = access.value {
                variable.access = (bits & 1 != 0, bits & 2 != 0);
            }
            if let Some(Variant::Int32(rank)) = rank.value
                && rank >= 0
            {
                variable.array = Some(first(dimensions));
            }
            let Some(Variant::NodeId(id)) = &data_type.value else { continue };
            let (scalar, labels) = match known.get(&**id) {
                Some(known) => known,
                None => {
                    let scalar = types::builtin(session, id).await.ok().flatten();
                    // A type of the server's own that is kept as a number may be an enumeration.
                    let is_own = matches!(scalar, Some(VariantScalarTypeId::Int32)) && !is_int32(id);
                    let labels =
                        if is_own { labels::of_type(session, limits, id).await? } else { Vec::new() };
                    known.entry((**id).clone()).or_insert((scalar, labels))
                }
            };
            (variable.scalar, variable.labels) = (*scalar, labels.clone());
        }
    }
    own_labels(session, limits, found).await
}

fn is_int32(data_type: &NodeId) -> bool {
    *data_type == DataTypeId::Int32
}

/// Labels that variables have as properties, which say more of them than their type does.
async fn own_labels(session: &Session, limits: Limits, found: &mut [Found]) -> Result<(), Error> {
    let property = |f: &Found| {
        let name = f.path.rsplit('/').next()?;
        Some((f.parent?, Property::of(name)?, f.node.clone()))
    };
    let is_variable = |at: &usize| found.get(*at).is_some_and(|f| f.class == NodeClass::Variable);
    let told: Vec<_> = found.iter().filter_map(property).filter(|(at, ..)| is_variable(at)).collect();
    let mut own: HashMap<usize, Vec<Label>> = HashMap::new();
    let asked: Vec<ReadValueId> = told.iter().map(|(.., node)| ReadValueId::from(node.clone())).collect();
    let read = limits.read_in_parts(session, &asked).await?;
    for ((at, property, _), value) in told.into_iter().zip(read) {
        if let Some(value) = value.value {
            labels::merge(own.entry(at).or_default(), property, &value);
        }
    }
    for (at, labels) in own {
        if let Some(variable) = found.get_mut(at).filter(|_| !labels.is_empty()) {
            variable.labels = labels;
        }
    }
    Ok(())
}

fn first(dimensions: &DataValue) -> u32 {
    match &dimensions.value {
        Some(Variant::Array(array)) => match array.values.first() {
            Some(Variant::UInt32(n)) => *n,
            _ => 0,
        },
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_at_once_grow_while_answers_are_quick_and_halve_when_they_fail() {
        let ms = Duration::from_millis;
        let mut gauge = Gauge { at: 1, most: 8, best: None, peak: 1 };
        for _ in 0..20 {
            gauge.good(ms(5));
        }
        assert_eq!(gauge.at, 8);
        gauge.bad();
        assert_eq!(gauge.at, 4);
        gauge.good(ms(500));
        assert_eq!(gauge.at, 4, "slow answers make no more of them");
        assert_eq!(gauge.peak, 8);
    }
}

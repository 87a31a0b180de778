//! How much a server bears at once: what it says, what its vendor's are known for, and what is configured.

use opcua::client::Session;
use opcua::types::{DataValue, Error, ReadValueId, StatusCode, TimestampsToReturn, VariableId, Variant};

use super::config::{DeviceConfig, Profile};

/// Most items of a call to a server that says nothing.
const USUAL: usize = 1000;
/// Most items of a subscription: one response holds what all of them have to say.
const PER_SUBSCRIPTION: usize = 10_000;

/// Most items of each call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) read: usize,
    pub(super) monitored: usize,
    pub(super) browse: usize,
    pub(super) history: usize,
    pub(super) per_subscription: usize,
    /// Calls that may be under way at the same time.
    pub(super) parallel: usize,
}

impl Limits {
    /// Before a server was asked.
    pub(super) fn unknown() -> Self {
        of(&DeviceConfig::new(""), [None; 5], "")
    }

    /// Reads attributes without their times, in as many calls as the server needs: an answer for each, in their order.
    ///
    /// # Errors
    /// When the server refuses a call or answers less than was asked, or the connection is lost.
    pub(super) async fn read_in_parts(
        self,
        session: &Session,
        asked: &[ReadValueId],
    ) -> Result<Vec<DataValue>, Error> {
        self.read_with(session, asked, TimestampsToReturn::Neither).await
    }

    /// The same with times.
    pub(super) async fn read_with(
        self,
        session: &Session,
        asked: &[ReadValueId],
        times: TimestampsToReturn,
    ) -> Result<Vec<DataValue>, Error> {
        let mut values = Vec::with_capacity(asked.len());
        for part in asked.chunks(self.read) {
            let read = session.read(part, times, 0.0).await?;
            if read.len() != part.len() {
                let detail = format!("{} answers to {} reads", read.len(), part.len());
                return Err(Error::new(StatusCode::BadUnexpectedError, detail));
            }
            values.extend(read);
        }
        Ok(values)
    }
}

/// What is asked, in the order of `Limits`, then what the server is.
const ASKED: [VariableId; 8] = [
    VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerRead,
    VariableId::Server_ServerCapabilities_OperationLimits_MaxMonitoredItemsPerCall,
    VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerBrowse,
    VariableId::Server_ServerCapabilities_OperationLimits_MaxNodesPerHistoryReadData,
    VariableId::Server_ServerCapabilities_MaxMonitoredItemsPerSubscription,
    VariableId::Server_ServerStatus_BuildInfo_ProductName,
    VariableId::Server_ServerStatus_BuildInfo_ProductUri,
    VariableId::Server_ServerStatus_BuildInfo_ManufacturerName,
];

/// What the server says. One that cannot be asked is taken for a usual one.
pub(super) async fn ask(session: &Session, config: &DeviceConfig) -> Limits {
    let nodes: Vec<ReadValueId> =
        ASKED.iter().map(|id| ReadValueId::from(opcua::types::NodeId::from(*id))).collect();
    let mut read = session.read(&nodes, TimestampsToReturn::Neither, 0.0).await.unwrap_or_default();
    if read.len() != nodes.len() {
        // A server that bears fewer reads at once than this asks for is asked one by one.
        read.clear();
        for node in &nodes {
            let one = session.read(std::slice::from_ref(node), TimestampsToReturn::Neither, 0.0).await;
            read.push(one.ok().and_then(|v| v.into_iter().next()).unwrap_or_default());
        }
    }
    let value = |at: usize| read.get(at).and_then(|v| v.value.as_ref());
    let said = |at: usize| match value(at) {
        Some(Variant::UInt32(n)) if *n > 0 => usize::try_from(*n).ok(),
        _ => None,
    };
    let text = |at: usize| match value(at) {
        Some(Variant::String(s)) => s.as_ref().to_owned(),
        _ => String::new(),
    };
    let product = format!("{} {} {}", text(5), text(6), text(7));
    of(config, [0, 1, 2, 3, 4].map(said), &product)
}

/// Pure: from what is configured and what a server says.
fn of(config: &DeviceConfig, said: [Option<usize>; 5], product: &str) -> Limits {
    let profile = match config.profile {
        Profile::Auto => known(product),
        other => other,
    };
    let (most, parallel) = match profile {
        // Beyond 200 items a call takes some fifty times as long.
        Profile::S71200 => (150, 1),
        Profile::S71500 => (1000, 2),
        Profile::Auto | Profile::Generic => (USUAL, 8),
    };
    let most = config.max_items_per_call.map_or(most, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let call = |at: usize| said.get(at).copied().flatten().map_or(most, |n| n.min(most)).max(1);
    let per = config.max_items_per_subscription.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let per_subscription = per.or(said[4]).unwrap_or(PER_SUBSCRIPTION).clamp(1, PER_SUBSCRIPTION);
    Limits {
        read: call(0),
        monitored: call(1),
        browse: call(2),
        history: call(3),
        per_subscription,
        parallel,
    }
}

fn known(product: &str) -> Profile {
    let product = product.to_ascii_lowercase();
    if product.contains("s7-1200") || product.contains("s7 1200") {
        Profile::S71200
    } else if product.contains("s7-1500") || product.contains("s7 1500") {
        Profile::S71500
    } else {
        Profile::Generic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_keeps_what_the_server_the_vendor_and_the_configuration_say() {
        let mut config = DeviceConfig::new("opc.tcp://h");
        let none = [None; 5];
        assert_eq!(of(&config, none, "").read, USUAL);
        assert_eq!(of(&config, [Some(20), Some(5000), None, None, Some(7)], "x").monitored, USUAL);
        let told = of(&config, [Some(20), None, None, None, Some(7)], "x");
        assert_eq!((told.read, told.per_subscription), (20, 7));
        assert!(of(&config, none, "SIMATIC S7-1200 Siemens AG").read < 200);
        config.profile = Profile::S71200;
        assert!(of(&config, none, "").monitored < 200);
        config.max_items_per_call = Some(50);
        assert_eq!(of(&config, none, "").monitored, 50);
    }
}

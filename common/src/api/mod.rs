//! Types of the HTTP and live APIs: the same shapes on the box and in the cloud, and what the CLI and
//! the page read. No handlers here.

mod alarm;
mod buffer;
mod config;
mod configuration;
mod enrol;
mod gateway;
mod history;
mod live;
mod modbus;
mod mqtt;
mod opcua_client;
mod problem;
mod sets;
mod twin;
mod update;
mod users;
mod waveform;

pub use alarm::{AcknowledgeRequest, ShelveRequest, UnshelveRequest};
pub use buffer::{
    BufferClass, BufferDamage, BufferDropRequest, BufferDropped, BufferLoss, BufferQuarantine, BufferReader,
    BufferStatus, BufferVerify,
};
pub use config::{ConfigView, ReloadAttempt, ReloadReport};
pub use configuration::{
    Accepts, ConfigurationDocument, ConfigurationEntry, ConfigurationReport, ConfigurationRequest,
    ConfigurationState, ConfigurationView, DocumentRef, DocumentState, MAX_DOCUMENT_BYTES,
};
pub use enrol::{
    CertificateView, EnrolRequest, EnrolResponse, Enrolled, EnrolmentCodeCreated, EnrolmentCodeRequest,
    IdentityView, RevokeRequest, Revoked, SigningRequest,
};
pub use gateway::{
    AcceptRequest, BufferHealth, DeviceHealth, GatewayHealth, GatewayView, HeldBox, LinkHold, LinkUse,
    PollHealth, SetAsideList, SetAsideView, SwitchPosition, SwitchRequest,
};
pub use history::{
    GapReason, HistoryGap, HistoryPoint, HistoryResponse, HistorySample, HistoryTimes, Resolution, StateTime,
};
pub use live::{ClientMessage, LIVE_HEADER_BYTES, LiveFrame, LiveRow, ServerMessage, TextValue};
pub use modbus::ModbusEndpoint;
pub use mqtt::{UnknownTopic, UnknownTopics, UnknownValue};
pub use opcua_client::{
    OpcuaBrowseRequest, OpcuaBrowsed, OpcuaCertificate, OpcuaEndpoint, OpcuaEndpointsRequest, OpcuaNode,
    OpcuaPoint, OpcuaReadRequest, OpcuaTarget, OpcuaValue,
};
pub use problem::Problem;
pub use sets::{
    AlignedColumn, AlignedRequest, AlignedResponse, ExportFormat, ExportRequest, HistoryDeleted,
    Interpolation, PastPoint, PointRef,
};
pub use twin::{
    AssetKind, AssetNode, CommandRequest, CommandStep, CommandView, DesiredEntry, DesiredPatch, DesiredView,
    Page, PointView, TwinView,
};
pub use update::{
    GroupRequest, Release, Rollout, RolloutBox, RolloutBoxState, RolloutChange, RolloutRequest, RolloutState,
    RolloutView, UpdateOffer, UpdateReport, UpdateState, UpdateView,
};
pub use users::{
    ApiKeyCreated, ApiKeyRequest, ApiKeyView, GatewayCredential, GatewayRequest, GrantView, PasswordRequest,
    Role, SessionRequest, SessionResponse, UserRequest, UserView, WhoAmI,
};
pub use waveform::{WaveformBlock, WaveformItem, WaveformList};

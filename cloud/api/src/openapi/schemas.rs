//! The schemas of the description, all from the types that are really sent.

use common::Value;
use common::alarm::AlarmView;
use common::api::{
    AcceptRequest, AcknowledgeRequest, AlignedRequest, AlignedResponse, ApiKeyCreated, ApiKeyRequest,
    ApiKeyView, AssetNode, CertificateView, ClientMessage, CommandRequest, CommandView,
    ConfigurationDocument, ConfigurationEntry, ConfigurationRequest, ConfigurationView, DesiredEntry,
    EnrolRequest, EnrolResponse, Enrolled, EnrolmentCodeCreated, EnrolmentCodeRequest, ExportRequest,
    GatewayCredential, GatewayRequest, GatewayView, GroupRequest, HeldBox, HistoryDeleted, HistoryResponse,
    PasswordRequest, PastPoint, Problem, Release, RevokeRequest, Revoked, RolloutChange, RolloutRequest,
    RolloutView, ServerMessage, SessionRequest, SessionResponse, SetAsideList, SetAsideView, ShelveRequest,
    TwinView, UnshelveRequest, UpdateView, UserRequest, UserView, WaveformBlock, WaveformList, WhoAmI,
};
use common::command::LogEntry;
use utoipa::openapi::schema::{
    AdditionalProperties, AnyOfBuilder, ArrayBuilder, ObjectBuilder, RefBuilder, Schema, SchemaType, Type,
};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema as _, ToSchema};

/// Names of the schemas that are not a type's own.
pub(super) const DESIRED_PATCH: &str = "DesiredPatch";
const VALUE: &str = "Value";

type Schemas = Vec<(String, RefOr<Schema>)>;

fn add<T: ToSchema>(out: &mut Schemas) {
    T::schemas(out);
    out.push((T::name().into_owned(), T::schema()));
}

/// A page of rows, under a name of its own: a generic type has none.
fn add_page<T: ToSchema>(out: &mut Schemas) {
    add::<T>(out);
    let items = ArrayBuilder::new().items(Ref::from_schema_name(T::name()));
    let cursor = ObjectBuilder::new()
        .schema_type(Type::String)
        .description(Some("give this as `cursor` for the next page; none at the end"));
    let page = ObjectBuilder::new()
        .property("items", items)
        .required("items")
        .property("next_cursor", cursor)
        .description(Some("one page of a list"));
    out.push((format!("{}Page", T::name()), page.build().into()));
}

/// Every schema.
pub(super) fn all() -> Schemas {
    let mut out = Schemas::new();
    add::<Problem>(&mut out);
    add::<SessionRequest>(&mut out);
    add::<SessionResponse>(&mut out);
    add::<WhoAmI>(&mut out);
    add_page::<TwinView>(&mut out);
    add::<DesiredEntry>(&mut out);
    add::<HistoryResponse>(&mut out);
    add::<HistoryDeleted>(&mut out);
    add_page::<PastPoint>(&mut out);
    add::<WaveformList>(&mut out);
    add::<WaveformBlock>(&mut out);
    add::<AlignedRequest>(&mut out);
    add::<AlignedResponse>(&mut out);
    add::<ExportRequest>(&mut out);
    add::<CommandRequest>(&mut out);
    add_page::<CommandView>(&mut out);
    add_page::<AlarmView>(&mut out);
    add::<AcknowledgeRequest>(&mut out);
    add::<ShelveRequest>(&mut out);
    add::<UnshelveRequest>(&mut out);
    add_page::<GatewayView>(&mut out);
    add::<AcceptRequest>(&mut out);
    add::<SetAsideView>(&mut out);
    add::<SetAsideList>(&mut out);
    add::<HeldBox>(&mut out);
    add::<EnrolmentCodeRequest>(&mut out);
    add::<EnrolmentCodeCreated>(&mut out);
    add::<EnrolRequest>(&mut out);
    add::<EnrolResponse>(&mut out);
    add::<Enrolled>(&mut out);
    add_page::<CertificateView>(&mut out);
    add::<RevokeRequest>(&mut out);
    add::<Revoked>(&mut out);
    add::<ConfigurationView>(&mut out);
    add::<ConfigurationRequest>(&mut out);
    add_page::<ConfigurationEntry>(&mut out);
    add::<ConfigurationDocument>(&mut out);
    add_page::<Release>(&mut out);
    add_page::<UpdateView>(&mut out);
    add::<GroupRequest>(&mut out);
    add::<RolloutRequest>(&mut out);
    add::<RolloutChange>(&mut out);
    add::<RolloutView>(&mut out);
    let bytes = ObjectBuilder::new().schema_type(Type::String).description(Some("the bytes of a bundle"));
    out.push(("Bundle".to_owned(), bytes.content_media_type("application/octet-stream").build().into()));
    add::<GatewayRequest>(&mut out);
    add::<GatewayCredential>(&mut out);
    add_page::<LogEntry>(&mut out);
    add_page::<AssetNode>(&mut out);
    add_page::<UserView>(&mut out);
    add::<UserRequest>(&mut out);
    add::<PasswordRequest>(&mut out);
    add_page::<ApiKeyView>(&mut out);
    add::<ApiKeyRequest>(&mut out);
    add::<ApiKeyCreated>(&mut out);
    add::<ClientMessage>(&mut out);
    add::<ServerMessage>(&mut out);
    let entry = AnyOfBuilder::new()
        .item(Ref::from_schema_name(DesiredEntry::name()))
        .item(ObjectBuilder::new().schema_type(Type::Null));
    let patch = ObjectBuilder::new()
        .schema_type(Type::Object)
        .description(Some(
            "merge patch (RFC 7396) by name of the point: a value is wanted, `null` withdraws it",
        ))
        .additional_properties(Some(AdditionalProperties::RefOr(RefOr::T(Schema::AnyOf(entry.build())))));
    out.push((DESIRED_PATCH.to_owned(), patch.build().into()));
    for (name, schema) in &mut out {
        if let RefOr::T(schema) = schema {
            name_values(name, schema);
        }
    }
    out.push((VALUE.to_owned(), Value::schema()));
    out
}

/// utoipa takes every type called `Value` for serde_json's and says nothing of it: ours has a schema.
fn name_values(owner: &str, schema: &mut Schema) {
    match schema {
        Schema::Object(object) => {
            for (name, property) in &mut object.properties {
                let RefOr::T(Schema::Object(inner)) = property else { continue };
                if inner.schema_type != SchemaType::AnyValue {
                    continue;
                }
                let about = inner.description.clone().unwrap_or_default();
                let value = RefBuilder::new().ref_location_from_schema_name(VALUE).description(Some(about));
                // Where a value may be `null`, rather than absent, it is sent as such.
                *property = if owner == "TextValue" && name == "value" {
                    let null = ObjectBuilder::new().schema_type(Type::Null);
                    AnyOfBuilder::new().item(value.build()).item(null).into()
                } else {
                    value.build().into()
                };
            }
        }
        Schema::AllOf(all) => each(owner, &mut all.items),
        Schema::OneOf(one) => each(owner, &mut one.items),
        Schema::AnyOf(any) => each(owner, &mut any.items),
        _ => {}
    }
}

fn each(owner: &str, items: &mut [RefOr<Schema>]) {
    for item in items {
        if let RefOr::T(schema) = item {
            name_values(owner, schema);
        }
    }
}

/// A reference to a schema of the list.
pub(super) fn reference(name: &str) -> Ref {
    Ref::from_schema_name(name)
}

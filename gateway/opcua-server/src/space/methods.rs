//! The methods of a condition (part 9): where each stands, by which ids of the standard's types it is called as well, what
//! it takes, and whether anybody may call it.

use opcua::types::{Argument, DataTypeId, LocalizedText, MethodId, NodeId};

/// One method.
#[derive(Debug)]
pub(crate) struct Method {
    /// Where it stands below the alarm.
    path: &'static str,
    ids: &'static [MethodId],
    inputs: &'static [(&'static str, DataTypeId, &'static str)],
    /// Every condition has `Enable` and `Disable`, and here nobody may call them: an alarm is in service as its
    /// configuration says.
    pub(crate) is_callable: bool,
}

const SAID: &[(&str, DataTypeId, &str)] = &[
    ("EventId", DataTypeId::ByteString, "which occurrence: the EventId of its event"),
    ("Comment", DataTypeId::LocalizedText, "for the record"),
];

/// All of them.
const METHODS: &[Method] = &[
    Method {
        path: "Acknowledge",
        ids: &[MethodId::AcknowledgeableConditionType_Acknowledge],
        inputs: SAID,
        is_callable: true,
    },
    Method {
        path: "AddComment",
        ids: &[MethodId::ConditionType_AddComment],
        inputs: SAID,
        is_callable: true,
    },
    Method { path: "Enable", ids: &[MethodId::ConditionType_Enable], inputs: &[], is_callable: false },
    Method { path: "Disable", ids: &[MethodId::ConditionType_Disable], inputs: &[], is_callable: false },
    Method {
        path: "ShelvingState/TimedShelve",
        ids: &[
            MethodId::AlarmConditionType_ShelvingState_TimedShelve,
            MethodId::ShelvedStateMachineType_TimedShelve,
        ],
        inputs: &[("ShelvingTime", DataTypeId::Duration, "how long it stays on the shelf, ms")],
        is_callable: true,
    },
    Method {
        path: "ShelvingState/OneShotShelve",
        ids: &[
            MethodId::AlarmConditionType_ShelvingState_OneShotShelve,
            MethodId::ShelvedStateMachineType_OneShotShelve,
        ],
        inputs: &[],
        is_callable: true,
    },
    Method {
        path: "ShelvingState/Unshelve",
        ids: &[
            MethodId::AlarmConditionType_ShelvingState_Unshelve,
            MethodId::ShelvedStateMachineType_Unshelve,
        ],
        inputs: &[],
        is_callable: true,
    },
];

impl Method {
    /// The method that stands at a path below the alarm.
    pub(crate) fn at(path: &str) -> Option<&'static Self> {
        METHODS.iter().find(|m| m.path == path)
    }

    /// The method of a standard type.
    pub(crate) fn of_type(id: &NodeId) -> Option<&'static Self> {
        if id.namespace != 0 {
            return None;
        }
        METHODS.iter().find(|m| m.ids.iter().any(|of| NodeId::from(*of) == *id))
    }

    /// What it is called.
    pub(crate) fn name(&self) -> &'static str {
        self.path.rsplit('/').next().unwrap_or(self.path)
    }

    /// Whether it is about the shelf.
    pub(crate) fn is_of_shelf(&self) -> bool {
        self.path.starts_with("ShelvingState/")
    }

    /// What the arguments of the method are whose `InputArguments` stand at a path below the alarm.
    pub(crate) fn inputs_at(path: &str) -> Option<Vec<Argument>> {
        let method = Self::at(path.strip_suffix("/InputArguments")?)?;
        Some(method.inputs.iter().map(|(name, of, about)| argument(name, *of, about)).collect())
    }
}

/// An argument that is no array.
pub(super) fn argument(name: &str, data_type: DataTypeId, description: &str) -> Argument {
    Argument {
        name: name.into(),
        data_type: data_type.into(),
        value_rank: -1,
        array_dimensions: None,
        description: LocalizedText::new("", description),
    }
}

#[cfg(test)]
mod tests {
    use super::super::ALARM_FIELDS;
    use super::*;

    #[test]
    fn every_method_is_a_node_and_has_arguments_where_it_takes_some() {
        for method in METHODS {
            assert!(ALARM_FIELDS.contains(&method.path), "{}", method.path);
            let inputs = format!("{}/InputArguments", method.path);
            assert_eq!(ALARM_FIELDS.contains(&&*inputs), !method.inputs.is_empty(), "{inputs}");
            assert_eq!(Method::inputs_at(&inputs).map(|all| all.len()), Some(method.inputs.len()));
            for id in method.ids {
                assert_eq!(Method::of_type(&(*id).into()).map(Method::name), Some(method.name()));
            }
        }
        let inputs = ALARM_FIELDS.iter().filter(|path| path.ends_with("/InputArguments"));
        assert!(inputs.clone().count() > 2 && inputs.clone().all(|path| Method::inputs_at(path).is_some()));
    }
}

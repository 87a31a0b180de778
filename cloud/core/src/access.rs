//! Grants: a role on a subtree of the assets. Every route and the live channel ask here and nowhere else.

use common::api::{GrantView, Role};

use crate::assets::is_under;

/// What a thing is about, for deciding who may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// a place in the asset tree
    Asset(String),
    /// the whole installation: gateways as such, accounts, keys
    Whole,
}

/// Who somebody is, and what they may do where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Account, or `key:<name>`.
    pub name: String,
    /// Roles on subtrees.
    pub grants: Vec<GrantView>,
}

impl Access {
    /// The highest role that a grant gives at a place; none if no grant covers it.
    pub fn role_at(&self, scope: &Scope) -> Option<Role> {
        let covers = |grant: &&GrantView| match scope {
            Scope::Asset(path) => is_under(path, &grant.path),
            Scope::Whole => grant.path.is_empty(),
        };
        self.grants.iter().filter(covers).map(|g| g.role).max()
    }

    /// Whether a role, or a higher one, is held at a place.
    pub fn allows(&self, role: Role, scope: &Scope) -> bool {
        self.role_at(scope).is_some_and(|held| held >= role)
    }

    /// The highest role held anywhere.
    pub fn highest(&self) -> Option<Role> {
        self.grants.iter().map(|g| g.role).max()
    }

    /// Whether everything that `other` may do, this may do as well: nobody gives what they do not have.
    pub fn includes(&self, other: &[GrantView]) -> bool {
        other.iter().all(|g| {
            let scope = if g.path.is_empty() { Scope::Whole } else { Scope::Asset(g.path.clone()) };
            self.allows(g.role, &scope)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(grants: &[(&str, Role)]) -> Access {
        let grants =
            grants.iter().map(|(path, role)| GrantView { path: (*path).into(), role: *role }).collect();
        Access { name: "a".into(), grants }
    }

    #[test]
    fn a_grant_holds_below_its_node_and_nowhere_else() {
        let a = access(&[("plant/coating", Role::Operator), ("plant", Role::Viewer)]);
        let at = |p: &str| a.role_at(&Scope::Asset(p.into()));
        assert_eq!(at("plant/coating/line1/oven"), Some(Role::Operator));
        assert_eq!(at("plant/coating2/line1"), Some(Role::Viewer));
        assert_eq!(at("plant2"), None);
        assert_eq!(a.role_at(&Scope::Whole), None);
        assert!(access(&[("", Role::Admin)]).allows(Role::Engineer, &Scope::Whole));
    }

    #[test]
    fn nobody_gives_what_they_do_not_have() {
        let a = access(&[("plant", Role::Engineer)]);
        assert!(a.includes(&access(&[("plant/x", Role::Operator)]).grants));
        assert!(!a.includes(&access(&[("plant/x", Role::Admin)]).grants));
        assert!(!a.includes(&access(&[("", Role::Viewer)]).grants));
    }
}

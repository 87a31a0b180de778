//! What grants may be given: on the whole, a site or an area, and never more than the giver holds.

use cloud_core::Access;
use common::api::GrantView;
use common::names::Code;

use crate::error::ApiError;

/// Most grants of an account or key.
const MOST: usize = 100;
/// Most characters of a path.
const PATH: usize = 200;

/// Whether grants are well formed and within what `giver` holds.
pub(crate) fn check(grants: &[GrantView], giver: &Access) -> Result<(), ApiError> {
    if grants.is_empty() || grants.len() > MOST {
        return Err(ApiError::invalid(format!("give 1 to {MOST} grants")));
    }
    for (at, grant) in grants.iter().enumerate() {
        check_path(&grant.path)?;
        if grants[..at].iter().any(|g| g.path == grant.path) {
            return Err(ApiError::invalid(format!("the path `{}` is granted twice", grant.path)));
        }
    }
    if !giver.includes(grants) {
        return Err(ApiError::new(Code::Forbidden, "nobody grants more than they hold"));
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), ApiError> {
    if path.is_empty() {
        return Ok(());
    }
    let wrong =
        |why: &str| Err(ApiError::invalid(format!("`{}` {why}", path.chars().take(80).collect::<String>())));
    let parts: Vec<_> = path.split('/').collect();
    if path.len() > PATH || parts.iter().any(|p| p.is_empty() || p.chars().any(char::is_control)) {
        return wrong("is not a path: use `site` or `site/area`, or nothing for all");
    }
    if parts.len() > 2 {
        return wrong(
            "lies below an area: live frames are shared by all who see an area, so an area (`site/area`) is the smallest grant",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use common::api::Role;

    use super::*;

    fn grant(path: &str, role: Role) -> GrantView {
        GrantView { path: path.into(), role }
    }

    #[test]
    fn an_area_is_the_smallest_grant_and_the_own_ones_the_largest() {
        let all = Access { name: "a".into(), grants: vec![grant("", Role::Admin)] };
        let site = Access { name: "b".into(), grants: vec![grant("plant", Role::Engineer)] };
        for good in ["", "plant", "plant/coating"] {
            assert!(check(&[grant(good, Role::Admin)], &all).is_ok(), "{good}");
        }
        let deep = check(&[grant("plant/coating/line1", Role::Viewer)], &all).unwrap_err();
        assert!(deep.problem.detail.contains("smallest grant"), "{deep}");
        for bad in ["/", "plant/", "/plant", "a//b", "a\nb"] {
            assert_eq!(check(&[grant(bad, Role::Viewer)], &all).unwrap_err().problem.status, 400, "{bad}");
        }
        assert!(check(&[grant("plant/coating", Role::Engineer)], &site).is_ok());
        for more in [grant("plant", Role::Admin), grant("", Role::Viewer), grant("plant2", Role::Viewer)] {
            assert_eq!(check(&[more], &site).unwrap_err().problem.code, Code::Forbidden);
        }
        assert!(check(&[], &all).is_err());
        assert!(check(&[grant("a", Role::Viewer), grant("a", Role::Admin)], &all).is_err());
    }
}

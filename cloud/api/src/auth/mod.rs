//! Who somebody is: tokens, passwords, the limit on guessing, and where a request comes from. What they
//! may do is decided in `guard` with the grants of `cloud-core`.

pub(crate) mod limit;
pub(crate) mod origin;
pub(crate) mod password;
pub(crate) mod token;

pub(crate) use limit::Limiter;
pub(crate) use password::Hasher;

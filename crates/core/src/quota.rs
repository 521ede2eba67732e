//! Quotas: what a connection, a client's address, a user and an app may send and be sent in a second.
//!
//! ```
//! use omnivox_core::quota::{Quantity, Quota, Scope};
//! assert_eq!(Quota::of(Scope::User, Quantity::BytesIn).setting, "bytes_in_per_user_per_second_max");
//! ```
//!
//! Invariant: each quota is one setting, and whoever is refused or sent away because of it is told that setting's name.

use crate::budget::Rate;
use crate::limits::Limits;

/// Whose quota it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One connection: a session.
    Connection,
    /// A client's address; of IPv6 its /64.
    Address,
    /// A user of an app.
    User,
    /// An app.
    App,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantity {
    /// Messages in: publications.
    Publications,
    /// Messages out.
    Deliveries,
    /// Bytes of requests and of WebSockets.
    BytesIn,
    /// Bytes of answers, streams and WebSockets.
    BytesOut,
}

/// One quota.
#[derive(Debug)]
pub struct Quota {
    /// Its key in `[limits]`.
    pub setting: &'static str,
    /// Whose it is.
    pub scope: Scope,
    /// What it counts.
    pub quantity: Quantity,
    /// What was too much.
    pub words: &'static str,
    /// What is said to somebody whose connection it ends; fits a close frame.
    pub goodbye: &'static str,
    per_second: fn(&Limits) -> Option<u64>,
}

impl Quota {
    /// The quota of somebody for something.
    pub fn of(scope: Scope, quantity: Quantity) -> &'static Self {
        &QUOTAS[quantity as usize * Scope::ALL.len() + scope as usize]
    }

    /// Its place in [`QUOTAS`].
    pub fn index(&self) -> usize {
        self.quantity as usize * Scope::ALL.len() + self.scope as usize
    }

    /// What the limits say, when it is limited.
    pub fn rate(&self, limits: &Limits) -> Option<Rate> {
        (self.per_second)(limits).map(Rate::per_second)
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Connection, Self::Address, Self::User, Self::App];

    /// In a refusal.
    pub fn words(self) -> &'static str {
        match self {
            Self::Connection => "one connection",
            Self::Address => "one address",
            Self::User => "one user",
            Self::App => "one app",
        }
    }
}

macro_rules! quotas {
    ($($quantity:ident, $scope:ident, $setting:ident, $words:literal;)*) => {
        /// All quotas, by quantity and in it by scope.
        pub static QUOTAS: [Quota; 16] = [$(Quota {
            setting: stringify!($setting),
            scope: Scope::$scope,
            quantity: Quantity::$quantity,
            words: $words,
            goodbye: concat!($words, " (limits.", stringify!($setting), "); connect again later"),
            per_second: |limits| limits.$setting.map(|most| most as u64),
        }),*];
    };
}

quotas! {
    Publications, Connection, publications_per_second_max, "this connection publishes too much";
    Publications, Address, publications_per_address_per_second_max, "this address publishes too much";
    Publications, User, publications_per_user_per_second_max, "this user publishes too much";
    Publications, App, publications_per_app_per_second_max, "this app publishes too much";
    Deliveries, Connection, deliveries_per_second_max, "too many messages for this connection";
    Deliveries, Address, deliveries_per_address_per_second_max, "too many messages for this address";
    Deliveries, User, deliveries_per_user_per_second_max, "too many messages for this user";
    Deliveries, App, deliveries_per_app_per_second_max, "too many messages for this app";
    BytesIn, Connection, bytes_in_per_second_max, "too many bytes came over this connection";
    BytesIn, Address, bytes_in_per_address_per_second_max, "too many bytes came from this address";
    BytesIn, User, bytes_in_per_user_per_second_max, "too many bytes came from this user";
    BytesIn, App, bytes_in_per_app_per_second_max, "too many bytes came for this app";
    BytesOut, Connection, bytes_out_per_second_max, "too many bytes for this connection";
    BytesOut, Address, bytes_out_per_address_per_second_max, "too many bytes for this address";
    BytesOut, User, bytes_out_per_user_per_second_max, "too many bytes for this user";
    BytesOut, App, bytes_out_per_app_per_second_max, "too many bytes for this app";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_found_at_its_place_and_its_goodbye_fits_a_close_frame() {
        let mut settings = Vec::new();
        for (index, quota) in QUOTAS.iter().enumerate() {
            assert_eq!((quota.index(), Quota::of(quota.scope, quota.quantity).setting), (index, quota.setting));
            assert!(quota.goodbye.len() <= 123 && quota.goodbye.contains(quota.setting), "{}", quota.goodbye);
            assert_eq!(quota.rate(&Limits::default()), None, "{} is off unless it is set", quota.setting);
            assert!(!settings.contains(&quota.setting));
            settings.push(quota.setting);
        }
    }
}

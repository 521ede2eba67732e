//! The quotas of `[limits]`, which a reload changes for whoever comes from then on.

use super::settings::LimitSettings;

impl LimitSettings {
    /// Takes the quotas of other limits.
    pub(super) fn take_quotas(&mut self, other: &Self) {
        self.connections_per_app_max = other.connections_per_app_max;
        self.connections_per_user_max = other.connections_per_user_max;
        self.publications_per_second_max = other.publications_per_second_max;
        self.publications_per_user_per_second_max = other.publications_per_user_per_second_max;
        self.publications_per_app_per_second_max = other.publications_per_app_per_second_max;
        self.subscriptions_per_app_max = other.subscriptions_per_app_max;
        self.subscriptions_per_user_max = other.subscriptions_per_user_max;
        self.subscriptions_per_address_max = other.subscriptions_per_address_max;
        self.publications_per_address_per_second_max = other.publications_per_address_per_second_max;
        self.deliveries_per_second_max = other.deliveries_per_second_max;
        self.deliveries_per_user_per_second_max = other.deliveries_per_user_per_second_max;
        self.deliveries_per_app_per_second_max = other.deliveries_per_app_per_second_max;
        self.deliveries_per_address_per_second_max = other.deliveries_per_address_per_second_max;
        self.bytes_in_per_second_max = other.bytes_in_per_second_max;
        self.bytes_in_per_user_per_second_max = other.bytes_in_per_user_per_second_max;
        self.bytes_in_per_app_per_second_max = other.bytes_in_per_app_per_second_max;
        self.bytes_in_per_address_per_second_max = other.bytes_in_per_address_per_second_max;
        self.bytes_out_per_second_max = other.bytes_out_per_second_max;
        self.bytes_out_per_user_per_second_max = other.bytes_out_per_user_per_second_max;
        self.bytes_out_per_app_per_second_max = other.bytes_out_per_app_per_second_max;
        self.bytes_out_per_address_per_second_max = other.bytes_out_per_address_per_second_max;
    }
}

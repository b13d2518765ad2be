//! Hosts of Zoho's data centers.
use crate::api::directory::DataCenter;

/// Accounts, API and Mail hosts of a data center (zoho.com/accounts/protocol/oauth/multi-dc.html;
/// zoho.com/mail/help/api/getting-started-with-api.html; those of sa, uk and ae for Mail follow the same pattern).
pub(super) fn hosts(center: DataCenter) -> [&'static str; 3] {
    match center {
        DataCenter::Us => ["accounts.zoho.com", "www.zohoapis.com", "mail.zoho.com"],
        DataCenter::Eu => ["accounts.zoho.eu", "www.zohoapis.eu", "mail.zoho.eu"],
        DataCenter::In => ["accounts.zoho.in", "www.zohoapis.in", "mail.zoho.in"],
        DataCenter::Au => ["accounts.zoho.com.au", "www.zohoapis.com.au", "mail.zoho.com.au"],
        DataCenter::Cn => ["accounts.zoho.com.cn", "www.zohoapis.com.cn", "mail.zoho.com.cn"],
        DataCenter::Jp => ["accounts.zoho.jp", "www.zohoapis.jp", "mail.zoho.jp"],
        DataCenter::Ca => ["accounts.zohocloud.ca", "www.zohoapis.ca", "mail.zohocloud.ca"],
        DataCenter::Sa => ["accounts.zoho.sa", "www.zohoapis.sa", "mail.zoho.sa"],
        DataCenter::Uk => ["accounts.zoho.uk", "www.zohoapis.uk", "mail.zoho.uk"],
        DataCenter::Ae => ["accounts.zoho.ae", "www.zohoapis.ae", "mail.zoho.ae"],
    }
}

/// All data centers.
pub(super) const DATA_CENTERS: [DataCenter; 10] = [
    DataCenter::Us,
    DataCenter::Eu,
    DataCenter::In,
    DataCenter::Au,
    DataCenter::Cn,
    DataCenter::Jp,
    DataCenter::Ca,
    DataCenter::Sa,
    DataCenter::Uk,
    DataCenter::Ae,
];

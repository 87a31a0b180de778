//! The same for what gateways are given and told: keys, certificates, configurations, updates.

use super::store::none;
use super::*;

#[async_trait]
impl AccountStorage for Store {
    async fn users(&self) -> Result<Vec<UserView>, StoreError> {
        none("users")
    }

    async fn user(&self, _: &str) -> Result<Account, StoreError> {
        none("user")
    }

    async fn create_user(&self, _: &Account) -> Result<(), StoreError> {
        none("user")
    }

    async fn delete_user(&self, _: &str) -> Result<(), StoreError> {
        none("user")
    }

    async fn set_password(&self, _: &str, _: &str) -> Result<(), StoreError> {
        none("user")
    }

    async fn create_session(&self, _: &[u8; 32], _: &str, _: i64) -> Result<(), StoreError> {
        none("session")
    }

    async fn authenticate(
        &self,
        _: &[u8; 32],
        _: i64,
    ) -> Result<Option<(String, Vec<GrantView>)>, StoreError> {
        none("session")
    }

    async fn delete_session(&self, _: &[u8; 32]) -> Result<(), StoreError> {
        none("session")
    }

    async fn keys(&self) -> Result<Vec<ApiKeyView>, StoreError> {
        none("keys")
    }

    async fn create_key(&self, _: &ApiKeyView, _: &[u8; 32]) -> Result<(), StoreError> {
        none("key")
    }

    async fn delete_key(&self, _: &str) -> Result<(), StoreError> {
        none("key")
    }

    async fn set_gateway_secret(&self, _: &GatewayKey, _: &[u8; 32], _: i64) -> Result<(), StoreError> {
        none("gateway")
    }

    async fn gateway_secret(&self, gateway: &GatewayKey) -> Result<Option<[u8; 32]>, StoreError> {
        let name = gateway.gateway.as_str();
        let known = ["g1", "g2"].contains(&name) || name.starts_with("many");
        Ok(known.then(|| Sha256::digest(SECRET.as_bytes()).into()))
    }
}

#[async_trait]
impl CertificateStorage for Store {
    async fn create_code(&self, _: &KeptCode, _: i64, _: &LogEntry) -> Result<(), StoreError> {
        none("code")
    }

    async fn code(&self, _: &str) -> Result<Option<KeptCode>, StoreError> {
        none("code")
    }

    async fn code_failed(&self, _: &str) -> Result<(), StoreError> {
        none("code")
    }

    async fn enrol(&self, _: &str, _: &Certificate, _: &LogEntry) -> Result<(), StoreError> {
        none("code")
    }

    async fn renew(&self, _: &Certificate, _: &LogEntry) -> Result<(), StoreError> {
        none("certificate")
    }

    async fn certificates(&self, _: &GatewayKey) -> Result<Vec<Certificate>, StoreError> {
        none("certificate")
    }

    async fn revoke(&self, _: &GatewayKey, _: i64, _: &LogEntry) -> Result<usize, StoreError> {
        none("gateway")
    }
}

#[async_trait]
impl ConfigurationStorage for Store {
    async fn put_configuration(
        &self,
        _: &GatewayKey,
        document: &ConfigurationDocument,
        _: &LogEntry,
    ) -> Result<(), StoreError> {
        *self.wanted.lock().unwrap() = Some(document.clone());
        Ok(())
    }

    async fn configurations(
        &self,
        _: &GatewayKey,
        _: Option<&str>,
        _: usize,
    ) -> Result<Page<ConfigurationEntry>, StoreError> {
        none("document")
    }

    async fn configuration(
        &self,
        _: &GatewayKey,
        _: Option<u64>,
    ) -> Result<Option<ConfigurationDocument>, StoreError> {
        Ok(self.wanted.lock().unwrap().clone())
    }

    async fn configuration_report(&self, _: &GatewayKey) -> Result<Option<ConfigurationReport>, StoreError> {
        Ok(self.report.lock().unwrap().clone())
    }

    async fn keep_configuration_report(
        &self,
        _: &GatewayKey,
        report: &ConfigurationReport,
        audit: &[LogEntry],
    ) -> Result<(), StoreError> {
        *self.report.lock().unwrap() = Some(report.clone());
        self.audit.lock().unwrap().extend_from_slice(audit);
        Ok(())
    }
}

#[async_trait]
impl UpdateStorage for Store {
    async fn drop_uploads(&self) -> Result<(), StoreError> {
        none("upload")
    }

    fn updates_changed(&self) -> tokio::sync::watch::Receiver<()> {
        tokio::sync::watch::channel(()).1
    }

    async fn put_upload(&self, _: uuid::Uuid, _: u32, _: &[u8]) -> Result<(), StoreError> {
        none("upload")
    }

    async fn put_release(
        &self,
        _: &TenantId,
        _: uuid::Uuid,
        _: &Release,
        _: &LogEntry,
    ) -> Result<(), StoreError> {
        none("release")
    }

    async fn releases(&self, _: &TenantId) -> Result<Vec<Release>, StoreError> {
        none("release")
    }

    async fn release_part(&self, _: &TenantId, _: &str, part: u32) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.bundle.lock().unwrap().chunks(PART_BYTES).nth(part as usize).map(<[u8]>::to_vec))
    }

    async fn remove_release(&self, _: &TenantId, _: &str, _: &LogEntry) -> Result<usize, StoreError> {
        none("release")
    }

    async fn set_group(&self, _: &GatewayKey, _: Option<&str>, _: &LogEntry) -> Result<(), StoreError> {
        none("group")
    }

    async fn update_boxes(&self, _: &TenantId) -> Result<Vec<UpdateBox>, StoreError> {
        none("group")
    }

    async fn keep_update_report(&self, _: &GatewayKey, report: &UpdateReport) -> Result<(), StoreError> {
        *self.update.lock().unwrap() = Some(report.clone());
        Ok(())
    }

    async fn rollout(&self, _: &TenantId) -> Result<Option<Rollout>, StoreError> {
        none("rollout")
    }

    async fn put_rollout(&self, _: &TenantId, _: &Rollout, _: &[LogEntry]) -> Result<(), StoreError> {
        none("rollout")
    }
}

//! Signature Version 4 of a request to S3, by AWS's own crate: over the method, the address, the headers that count and the SHA-256 of the
//! body, so that what arrives otherwise is refused.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use reqwest::{
    Method, Url,
    header::{HeaderName, HeaderValue},
};

use crate::domain::Timestamp;

/// Who signs, for which region.
pub(super) struct Signer<'a> {
    pub(super) credentials: &'a Credentials,
    pub(super) region: &'a str,
}

impl Signer<'_> {
    /// The headers that make a request one of these credentials', besides those that are signed with it. `sha256` is that of the body, in
    /// hexadecimal digits. `Err` says what cannot be signed.
    pub(super) fn headers(
        &self,
        method: &Method,
        url: &Url,
        headers: &[(&'static str, String)],
        sha256: &str,
        now: Timestamp,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, String> {
        let mut settings = SigningSettings::default();
        // As S3 wants it: names are taken as they are, and the body counts.
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(u64::try_from(now.0).unwrap_or(0)));
        let identity = self.credentials.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name("s3")
            .time(time.ok_or("the clock is wrong")?)
            .settings(settings)
            .build()
            .map_err(|error| error.to_string())?
            .into();
        let signed = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let body = SignableBody::Precomputed(sha256.to_owned());
        let request = SignableRequest::new(method.as_str(), url.as_str(), signed, body).map_err(|error| error.to_string())?;
        let (instructions, _) = sign(request, &parameters).map_err(|error| error.to_string())?.into_parts();
        let (made, _) = instructions.into_parts();
        made.iter()
            .map(|header| {
                let mut value = HeaderValue::from_str(header.value()).map_err(|_| "the credentials hold characters that none have")?;
                value.set_sensitive(true);
                Ok((HeaderName::from_static(header.name()), value))
            })
            .collect()
    }
}

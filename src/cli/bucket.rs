//! The place of backups as it is named on the command line: a directory, or `s3://BUCKET/PREFIX` and how the bucket's server is reached.
//!
//! The secret comes from the environment or a file and has no option: what stands on a command line every process of the machine may see.

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{backup::failed, failure::Failure};
use crate::server::backup::{Location, s3};

/// How the server of a bucket is reached, and as whom; for places that are called `s3://BUCKET/PREFIX`.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Bucket")]
#[expect(clippy::struct_field_names, reason = "they are the options' names, which stand among others on the command line")]
pub(crate) struct BucketArgs {
    /// The address of the bucket's server; that of AWS in the region, otherwise.
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", hide_env_values = true, value_name = "URL")]
    s3_endpoint: Option<String>,
    /// The bucket's region; us-east-1 where an address is given.
    #[arg(long, env = "AWS_REGION", hide_env_values = true, value_name = "NAME")]
    s3_region: Option<String>,
    /// A file in AWS's format that holds the access key; `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and `AWS_SESSION_TOKEN` of the
    /// environment, otherwise.
    #[arg(long, value_name = "FILE")]
    s3_credentials: Option<PathBuf>,
    /// Which section of that file.
    #[arg(long, env = "AWS_PROFILE", hide_env_values = true, value_name = "NAME", default_value = "default")]
    s3_profile: String,
    /// Trust the certificates in this PEM file, and no others, where the bucket's server is asked.
    #[arg(long, env = "AWS_CA_BUNDLE", hide_env_values = true, value_name = "FILE")]
    s3_ca: Option<PathBuf>,
    /// Where the bucket is named; in the path where --s3-endpoint is given, otherwise in the host's name.
    #[arg(long, value_enum, value_name = "WHERE")]
    s3_addressing: Option<Addressing>,
    /// The server takes no conditional writes, and it is certain that nobody else writes below the prefix meanwhile.
    #[arg(long)]
    s3_unconditional: bool,
}

/// Where a bucket is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Addressing {
    /// In the path, behind the server's address, as most servers but AWS's want it.
    Path,
    /// In the host's name, before the server's, as AWS wants it.
    Host,
}

impl BucketArgs {
    /// The place that a name stands for.
    pub(crate) fn location(&self, place: &Path) -> Result<Location, Failure> {
        let Some(text) = place.to_str().filter(|text| text.starts_with(s3::SCHEME)) else { return Ok(Location::from(place)) };
        let (bucket, prefix) = s3::parse(text).map_err(failed)?;
        let given = |value: Option<&str>| value.filter(|value| !value.is_empty()).map(str::to_owned);
        let endpoint = given(self.s3_endpoint.as_deref()).or_else(|| environment("AWS_ENDPOINT_URL"));
        let region = given(self.s3_region.as_deref()).or_else(|| environment("AWS_DEFAULT_REGION"));
        let path_style = self.s3_addressing.map_or(endpoint.is_some(), |addressing| addressing == Addressing::Path);
        let Keys { key_id, secret, token } = self.keys()?;
        Ok(Location::Bucket(Box::new(s3::Settings {
            bucket,
            prefix,
            endpoint,
            region,
            path_style,
            ca: self.s3_ca.clone().filter(|path| !path.as_os_str().is_empty()),
            unconditional: self.s3_unconditional,
            credentials: s3::credentials(key_id, secret, token),
        })))
    }

    /// From the file that is named on the command line, the environment, or the file that the environment names.
    fn keys(&self) -> Result<Keys, Failure> {
        if let Some(path) = &self.s3_credentials {
            return Keys::of_file(path, &self.s3_profile);
        }
        if let (Some(key_id), Some(secret)) = (environment("AWS_ACCESS_KEY_ID"), environment("AWS_SECRET_ACCESS_KEY")) {
            return Ok(Keys { key_id, secret: Zeroizing::new(secret), token: environment("AWS_SESSION_TOKEN") });
        }
        match environment("AWS_SHARED_CREDENTIALS_FILE") {
            Some(path) => Keys::of_file(Path::new(&path), &self.s3_profile),
            None => Err(Failure::local(
                "s3-credentials: none are given: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file with --s3-credentials",
            )),
        }
    }
}

/// An access key.
struct Keys {
    key_id: String,
    secret: Zeroizing<String>,
    token: Option<String>,
}

impl Keys {
    /// What a section of a file in AWS's format says.
    fn of_file(path: &Path, section: &str) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| Failure::file(path, &error))?;
        Self::parse(&text, section).ok_or_else(|| {
            let path = path.display();
            Failure::local(format!("s3-credentials: {path}: no aws_access_key_id and aws_secret_access_key in its section [{section}]"))
        })
    }

    fn parse(text: &str, section: &str) -> Option<Self> {
        let mut is_here = false;
        let (mut key_id, mut secret, mut token) = (None, None, None);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                is_here = name.trim() == section;
            } else if is_here && let Some((name, value)) = line.split_once('=') {
                let value = value.trim();
                match name.trim() {
                    "aws_access_key_id" => key_id = Some(value.to_owned()),
                    "aws_secret_access_key" => secret = Some(Zeroizing::new(value.to_owned())),
                    "aws_session_token" => token = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        let (key_id, secret) = (key_id.filter(|value| !value.is_empty())?, secret.filter(|value| !value.is_empty())?);
        Some(Self { key_id, secret, token: token.filter(|value| !value.is_empty()) })
    }
}

/// What the environment says, where it says something.
fn environment(name: &str) -> Option<String> {
    #[expect(clippy::disallowed_methods, reason = "clap reads only what has an option, and a secret must not have one")]
    let value = std::env::var(name);
    value.ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_of_a_file_of_credentials_is_read_and_no_other() {
        let text = "# mine\n[default]\naws_access_key_id = A\naws_secret_access_key=b=c/d+\n\n[backups]\n  aws_access_key_id=B \n\
                    aws_secret_access_key = e\naws_session_token = t\nregion = x\n[half]\naws_access_key_id = C\n[none]\naws_access_key_id =\naws_secret_access_key =\n";
        let read = |section| Keys::parse(text, section).map(|keys| (keys.key_id, keys.secret.to_string(), keys.token));
        assert_eq!(read("default"), Some(("A".into(), "b=c/d+".into(), None)));
        assert_eq!(read("backups"), Some(("B".into(), "e".into(), Some("t".into()))));
        for section in ["half", "none", "", "other"] {
            assert_eq!(read(section), None, "{section}");
        }
    }
}

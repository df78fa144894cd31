//! `bulkhead egress explain`

use anyhow::{Context as _, bail};
use bulkhead_api::{EgressAddress, EgressExplanation, EgressStep, Op};
use bulkhead_client::Request;

use crate::cli::Egress;
use crate::context::{Context, block_on};
use crate::{exit, output};

pub(crate) fn run(typed: &Egress, context: &Context) -> anyhow::Result<u8> {
    let Egress::Explain { target, tenant, function } = typed;
    let (host, port) = host_and_port(target)?;
    let (client, request) = match tenant {
        Some(tenant) => (context.admin()?, Request::new(Op::ExplainTenantEgress, &[tenant])),
        None => (context.tenant()?, Request::new(Op::ExplainEgress, &[])),
    };
    let request = request
        .query("host", host)
        .query_maybe("port", port.map(|port| port.to_string()).as_deref())
        .query_maybe("function", function.as_deref());
    let told: EgressExplanation = block_on(async { Ok(client.call(request).await?) })?;
    if context.json {
        output::json(&told)?;
    } else {
        print(&told)?;
    }
    Ok(if told.allowed { exit::DONE } else { exit::FAILED })
}

/// `example.com`, `example.com:80`, `::1`, `[::1]:80`.
fn host_and_port(target: &str) -> anyhow::Result<(&str, Option<u16>)> {
    let (host, port) = match target.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port),
        _ => return Ok((target, None)),
    };
    let port = port.parse().with_context(|| format!("{port:?} is no port"))?;
    if port == 0 || host.is_empty() {
        bail!("write a host, or HOST:PORT with a port from 1 to 65535");
    }
    Ok((host, Some(port)))
}

fn print(told: &EgressExplanation) -> anyhow::Result<()> {
    let word = if told.allowed { "allowed" } else { "denied" };
    let target = format!("{} port {}", told.host, told.port);
    let by = told.rule.as_ref().map(|rule| format!(" by {rule}")).unwrap_or_default();
    output::line(&format!("{target}: {word}{by}"))?;
    output::line(match told.resolved.as_str() {
        "literal" => "It is an address: nothing is resolved.",
        "addresses" => {
            "The name was resolved; each address is judged, and only those allowed are dialled."
        }
        "not_asked" => "The name is not resolved: whatever it pointed to, it would be denied.",
        "not_found" => "The name has no address.",
        _ => "The name servers did not answer.",
    })?;
    let row = |step: &EgressStep, of: &str| {
        let says = if step.decides {
            "decides".to_owned()
        } else {
            output::or_dash(step.passed.as_deref())
        };
        vec![of.to_owned(), step.level.clone(), step.effect.clone(), step.rule.clone(), says]
    };
    let of = |it: &EgressAddress| format!("{} ({})", it.address, it.class);
    let mut rows: Vec<_> = told.before_resolving.iter().map(|step| row(step, &told.host)).collect();
    for address in &told.addresses {
        rows.extend(address.rules.iter().map(|step| row(step, &of(address))));
    }
    if rows.is_empty() {
        Ok(())
    } else {
        output::table(&["of", "whose", "effect", "rule", "says"], &rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_a_host_with_or_without_a_port() {
        for (target, host, port) in [
            ("example.com", "example.com", None),
            ("example.com:80", "example.com", Some(80)),
            ("1.2.3.4:80", "1.2.3.4", Some(80)),
            ("::1", "::1", None),
            ("[::1]", "[::1]", None),
            ("[::1]:80", "[::1]", Some(80)),
        ] {
            assert_eq!(host_and_port(target).unwrap(), (host, port), "{target}");
        }
        for bad in ["example.com:", "example.com:x", "example.com:0", "example.com:65536", ":80"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }
}

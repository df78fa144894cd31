const tls = require('node:tls');
const https = require('node:https');

exports.leave = () => {
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
  process.env.NODE_EXTRA_CA_CERTS = '/tmp/evil.pem';
  process.env.SSLKEYLOGFILE = '/tmp/keys';
  https.globalAgent.options.rejectUnauthorized = false;
  tls.DEFAULT_MIN_VERSION = 'TLSv1';
  tls.checkServerIdentity = () => undefined;
};

exports.look = (t) => {
  for (const name of ['NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_EXTRA_CA_CERTS', 'SSLKEYLOGFILE']) t.unless(name, process.env[name]);
  t.unless('an agent that trusts everybody', https.globalAgent.options.rejectUnauthorized === false);
  t.unless('old protocols', tls.DEFAULT_MIN_VERSION === 'TLSv1');
  t.unless('names that are not checked', tls.checkServerIdentity.length === 0);
};

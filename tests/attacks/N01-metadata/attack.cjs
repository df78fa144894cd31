const HOSTS = ['169.254.169.254', '169.254.170.2', '100.100.100.200', '168.63.129.16', 'fd00:ec2::254', 'fe80::a9fe:a9fe', 'metadata.google.internal'];

exports.attack = async (t, { allowed }) => {
  await t.needs('connections at all', () => lib.connect('127.0.0.1', allowed));
  const say = 'GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nhost: metadata\r\nconnection: close\r\n\r\n';
  await Promise.all(HOSTS.map((host) => t.try(`${host}`, () => lib.connect(host, 80, { say }))));
  await t.try('a session token (IMDSv2)', async () => {
    const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' };
    const answer = await fetch('http://169.254.169.254/latest/api/token', { method: 'PUT', headers, signal: AbortSignal.timeout(4000) });
    return answer.text();
  });
};

exports.attack = async (t, input, bulkhead) => {
  const depth = input.depth ?? 0;
  if (depth > 40) return t.worked('call itself forty deep', `${depth}`);
  const calls = Array.from({ length: depth < 2 ? 3 : 1 }, () => bulkhead.triggerAction('audit', 'c1', 'e05', { ...input, depth: depth + 1 }));
  const answers = await Promise.allSettled(calls);
  for (const { status, value, reason } of answers) {
    if (status === 'rejected') t.refused(`at depth ${depth}`, reason.code ?? reason.message);
    else for (const it of value.tries) t.list.push(it);
  }
  t.list.splice(6);
};

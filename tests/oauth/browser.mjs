// A browser that follows redirects from a URL, keeps cookies, and stops at the one that goes back to the product,
// which it prints.
const [start, home] = process.argv.slice(2);
const cookies = new Map();
let url = start;
for (let hop = 0; hop < 20 && !url.startsWith(home); hop += 1) {
  const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ');
  const response = await fetch(url, { redirect: 'manual', headers: { cookie } });
  for (const line of response.headers.getSetCookie()) {
    const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
    if (value) cookies.set(name, value);
    else cookies.delete(name);
  }
  const location = response.headers.get('location');
  if (!location) throw new Error(`${response.status} of ${url}: ${await response.text()}`);
  url = new URL(location, url).href;
}
console.log(url);

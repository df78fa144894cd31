// One CommonJS file per function, its packages included.

import fs from 'node:fs';
import path from 'node:path';
import { builtinModules } from 'node:module';
import { addonErrors } from './addons.mjs';
import { once } from './builders.mjs';
import { OWN_MODULES, RUNTIME, SDK, SDK_NAMES } from './paths.mjs';
import { withStacks } from './stacks.mjs';
import { packageOf } from './typecheck.mjs';

/** Built-in modules that open connections. */
const NETWORK_MODULES = new Set(['dgram', 'dns', 'dns/promises', 'http', 'http2', 'https', 'net', 'tls']);
const NETWORK_GLOBALS = /\b(?:fetch|uncontrolledFetch|WebSocket|EventSource|XMLHttpRequest)\b/;
/** Packages that load compiled code on behalf of another. */
const ADDON_LOADERS = new Set(['bindings', 'node-gyp-build', '@mapbox/node-pre-gyp', 'node-pre-gyp', 'prebuild-install']);
/** Speed-ups written in C that their users do without when they are missing. */
const OPTIONAL_ADDONS = new Set(['bufferutil', 'utf-8-validate', 'cpu-features', 'fsevents', 'pg-native']);

/** Resolves the SDK, and tells of compiled code that cannot come along. */
function plugin(refused) {
  const sdk = new RegExp(`^(?:${SDK_NAMES.join('|')})$`);
  return {
    name: 'bulkhead',
    setup(pass) {
      pass.onResolve({ filter: sdk }, () => ({ path: SDK, sideEffects: false }));
      pass.onResolve({ filter: /\.node$/ }, ({ importer }) => refuse(refused, importer));
      pass.onResolve({ filter: /^[a-z@]/ }, ({ path: name, importer }) => {
        if (OPTIONAL_ADDONS.has(name)) return { path: name, external: true };
        return ADDON_LOADERS.has(name) ? refuse(refused, importer) : undefined;
      });
    },
  };
}

function refuse(refused, importer) {
  refused.add(importer);
  return { path: importer, external: true };
}

/** Options that every bundle is made with. */
export function bundleOptions(project) {
  return {
    absWorkingDir: project,
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    nodePaths: [OWN_MODULES],
    write: false,
    logLevel: 'silent',
    legalComments: 'none',
    // Whitespace goes, names stay: stacks remain readable, and no path of this machine is left in a comment.
    minifyWhitespace: true,
    charset: 'utf8',
    // What is bundled must not depend on the project's own compiler settings.
    tsconfigRaw: { compilerOptions: { target: 'ES2023', experimentalDecorators: true } },
  };
}

/**
 * @param {(files: string[]) => boolean} namesSecrets whether these files of the author's use credentials
 * @param {typeof once} builder
 * @returns {Promise<{bundles: Array<{code: Uint8Array, sourceMap: Uint8Array, uses: object}>, errors: object[]}>}
 *   bundles in the order of functions
 */
export async function bundleAll(project, functions, namesSecrets, builder = once) {
  const done = await Promise.all(functions.map((fn) => bundleOne(project, fn, namesSecrets, builder)));
  return { bundles: done, errors: done.flatMap(({ errors }) => errors) };
}

function bundling(project, fn) {
  const refused = new Set();
  const options = {
    ...bundleOptions(project),
    entryPoints: [fn.file],
    outfile: path.join(project, `${fn.fileName}.js`),
    sourcemap: 'external',
    sourcesContent: false,
    metafile: true,
    plugins: [plugin(refused)],
  };
  return { options, state: refused };
}

async function bundleOne(project, fn, namesSecrets, builder) {
  const built = await builder(`bundle ${fn.fileName}`, () => bundling(project, fn)).catch((error) => ({ failed: error }));
  if (built.failed) {
    const found = built.failed.errors ?? [{ text: String(built.failed) }];
    return { errors: found.map((error) => bundleError(error, fn)) };
  }
  const { result, state: refused } = built;
  const errors = addonErrors(project, fn, result.metafile, refused);
  if (errors.length > 0) return { errors };
  const output = (end) => result.outputFiles.find((file) => file.path.endsWith(end)).contents;
  const inputs = Object.values(result.metafile.outputs).flatMap(({ inputs: parts }) => includedFiles(parts));
  return {
    errors,
    code: withStacks(output('.js'), output('.map')),
    sourceMap: output('.map'),
    uses: usesOf(project, result.metafile, inputs, namesSecrets),
    inputs: inputs.map((file) => path.resolve(project, file)),
  };
}

/** Files of which something is in the bundle. */
function includedFiles(parts) {
  return Object.entries(parts).filter(([, { bytesInOutput }]) => bytesInOutput > 0).map(([file]) => file);
}

function usesOf(project, metafile, inputs, namesSecrets) {
  const files = inputs.filter((file) => !isOurs(path.resolve(project, file)));
  const absolute = files.map((file) => path.resolve(project, file));
  const own = absolute.filter((file) => !file.includes(`${path.sep}node_modules${path.sep}`));
  const network = files.some((file) => metafile.inputs[file].imports.some(({ path: name }) => opensConnections(name)));
  const outbound = network || absolute.some((file) => NETWORK_GLOBALS.test(fs.readFileSync(file, 'utf8')));
  return { secrets: namesSecrets(own), outbound };
}

function isOurs(file) {
  return file.startsWith(path.join(RUNTIME, 'sdk') + path.sep);
}

function opensConnections(specifier) {
  const name = specifier.replace(/^node:/, '');
  return builtinModules.includes(name) && NETWORK_MODULES.has(name);
}

const TWO_DEFAULTS = /^Multiple exports with the same name "default"/;

function bundleError({ text, location }, fn) {
  const missing = /Could not resolve "([^"./][^"]*)"/.exec(text)?.[1];
  const place = location ? { file: location.file, line: location.line, column: location.column + 1 } : { file: fn.relative };
  const told = (code, todo) => ({ code, ...place, message: text, todo });
  if (missing) return told('missing_package', `Install it in the project: npm install ${packageOf(missing)}`);
  if (TWO_DEFAULTS.test(text)) return told('second_default_export', 'A function file has one default export: remove this or the other');
  return told('bundle', 'Correct the file');
}

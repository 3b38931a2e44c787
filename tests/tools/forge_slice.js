// forge_slice.js PACKAGES : the part of GitHub's API description that creel uses, as JSON on stdout, for a mock that
// checks requests by it. PACKAGES is a directory with node_modules/@octokit/openapi. Only examples are changed, as a
// static mock has no state:
//   --branch B        the pull request that opening one answers with is of that branch
//   --listed B        so is the one in the list of pull requests
//   --repo OWNER/NAME the repository that a minted token is for
//   --expires TIME    when it ends
//   --contents LEVEL  its permission
'use strict';
const args = process.argv.slice(2);
const option = (name, other) => (args.includes(name) ? args[args.indexOf(name) + 1] : other);
const { schemas } = require(require.resolve('@octokit/openapi', { paths: [args[0]] }));
const whole = schemas['api.github.com'];
const paths = {
    '/app/installations/{installation_id}/access_tokens': ['post'],
    '/installation/token': ['delete'],
    '/repos/{owner}/{repo}': ['get'],
    '/repos/{owner}/{repo}/pulls': ['get', 'post'],
};
const slice = { openapi: whole.openapi, info: whole.info, paths: {}, components: {} };

// What is referred to comes along, once.
function take(node) {
    if (node === null || typeof node !== 'object')
        return;
    if (typeof node.$ref === 'string') {
        const [, , kind, name] = node.$ref.split('/');
        slice.components[kind] ||= {};
        if (!(name in slice.components[kind])) {
            slice.components[kind][name] = whole.components[kind][name];
            take(slice.components[kind][name]);
        }
    }
    for (const value of Object.values(node))
        take(value);
}
for (const [path, methods] of Object.entries(paths)) {
    slice.paths[path] = {};
    for (const method of methods) {
        slice.paths[path][method] = whole.paths[path][method];
        take(slice.paths[path][method]);
    }
}

// The example that an operation answers with.
function example(path, method, status) {
    const content = slice.paths[path][method].responses[status].content['application/json'];
    const at = Object.values(content.examples)[0];
    return at.$ref ? slice.components.examples[at.$ref.split('/')[3]].value : at.value;
}
function of_branch(pull, branch) {
    pull.head.ref = branch;
    pull.head.label = `${pull.head.label.split(':')[0]}:${branch}`;
}
const token = example('/app/installations/{installation_id}/access_tokens', 'post', '201');
token.token = 'ghs_1_' + 'x'.repeat(500) + '.' + 'y'.repeat(20); // as long as they are today
token.expires_at = option('--expires', token.expires_at);
token.permissions = { contents: option('--contents', 'write'), metadata: 'read' };
token.repositories[0].full_name = option('--repo', token.repositories[0].full_name);
const opened = example('/repos/{owner}/{repo}/pulls', 'post', '201');
const listed = example('/repos/{owner}/{repo}/pulls', 'get', '200')[0];
if (option('--branch'))
    of_branch(opened, option('--branch'));
if (option('--listed'))
    of_branch(listed, option('--listed'));
process.stdout.write(JSON.stringify(slice));

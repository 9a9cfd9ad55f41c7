// A course platform for the tests: a certified OpenID Connect provider that answers in the shape of LTI 1.3, and a page with the
// link of each course. stdin says who there is: {"port": …, "tool": {"id": …, "start": …, "callback": …, "target": …},
// "people": {SUBJECT: {"claims": {…}, "roles": {CONTEXT: [ROLE]}}}}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/package.json`));
const { Provider, interactionPolicy } = await import(pathToFileURL(require.resolve("oidc-provider")));
const { port, tool, people } = JSON.parse(readFileSync(0, "utf8"));

const issuer = `http://127.0.0.1:${port}`;
const lti = (name) => `https://purl.imsglobal.org/spec/lti/claim/${name}`;
const names = ["version", "message_type", "deployment_id", "target_link_uri", "resource_link", "context", "roles"];
const client = { response_types: ["id_token"], grant_types: ["implicit"], token_endpoint_auth_method: "none" };

// A client on an address without https must be called native here, and of those each login is asked to be confirmed.
const policy = interactionPolicy.base();
policy.get("consent").checks.remove("native_client_prompt");

function describe(ctx, sub) {
  const context = ctx.oidc.params?.lti_message_hint ?? "";
  return {
    sub,
    ...people[sub].claims,
    [lti("version")]: "1.3.0",
    [lti("message_type")]: "LtiResourceLinkRequest",
    [lti("deployment_id")]: "1",
    [lti("target_link_uri")]: tool.target,
    [lti("resource_link")]: { id: `link-${context}` },
    [lti("context")]: { id: context },
    [lti("roles")]: people[sub].roles[context] ?? [],
  };
}

const provider = new Provider(issuer, {
  clients: [
    { ...client, client_id: tool.id, redirect_uris: [tool.callback], application_type: "native" },
    { ...client, client_id: "platform", redirect_uris: [`${issuer}/courses`], application_type: "native" },
  ],
  responseTypes: ["id_token"],
  interactions: { policy },
  extraParams: ["lti_message_hint"],
  claims: { openid: ["sub", "email", "name", ...names.map(lti)] },
  findAccount: (ctx, sub) => people[sub] && { accountId: sub, claims: () => describe(ctx, sub) },
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
  cookies: { keys: ["of the tests"] },
  ttl: { IdToken: 300, Session: 600, Interaction: 600, Grant: 600 },
});

provider.use(async (ctx, next) => {
  if (ctx.path !== "/courses") return next();
  const hidden = (name, value) => `<input type="hidden" name="${name}" value="${value}">`;
  const forms = ["42", "43", "77"].map(
    (context) => `<form method="post" action="${tool.start}">
      ${hidden("iss", issuer)}${hidden("client_id", tool.id)}${hidden("lti_deployment_id", "1")}
      ${hidden("login_hint", "you")}${hidden("lti_message_hint", context)}${hidden("target_link_uri", tool.target)}
      <button>Open the hub from course ${context}</button></form>`,
  );
  ctx.type = "html";
  ctx.body = `<!doctype html><html lang="en"><title>Courses</title><h1>Courses</h1>${forms.join("")}</html>`;
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));

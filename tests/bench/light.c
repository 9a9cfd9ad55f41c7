/* The lightest single-user server: answers every request, and costs next to nothing to start.
   What remains of a start is then the hub, the spawner and the Docker Engine. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

static const char answer[] = "HTTP/1.1 200 OK\r\nX-JupyterHub-Version: " HUB_VERSION "\r\n"
                             "Content-Type: application/json\r\nContent-Length: 2\r\n"
                             "Connection: close\r\n\r\n{}";

int main(void)
{
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8888)};
    const char *user = getenv("JUPYTERHUB_USER");
    int yes = 1, server = socket(AF_INET, SOCK_STREAM, 0);
    char request[8192];

    signal(SIGPIPE, SIG_IGN);
    if (user && strcmp(user, "stubborn") == 0)
        signal(SIGTERM, SIG_IGN);
    setsockopt(server, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(server, (struct sockaddr *)&any, sizeof any) || listen(server, 64))
        return 1;
    for (;;) {
        int client = accept(server, NULL, NULL);
        if (client < 0)
            continue;
        if (read(client, request, sizeof request) > 0 && write(client, answer, sizeof answer - 1) < 0)
            ;
        close(client);
    }
}

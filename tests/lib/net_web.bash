# shellcheck shell=bash
# Web servers on the stage of tests/lib/net.bash: nginx with TLS for *.stage.test, and behind it what
# package managers and git speak to. All of the content is made here; after net_up.
#
#   www    /hello, /big (8 MiB), /post (takes a body), /away (redirects to elsewhere.stage.test)
#   git    smart HTTP, /project.git
#   npm    a registry with one package, stage-pack
#   pypi   a simple index with one wheel, stagepip
#   deb    an apt repository with one package, stage-deb
#   proxy  a Go module proxy with one module, example.com/stage

WEB_ADDRESS=7.7.7.10

web_up()
{
    export WEB=$NET/web
    mkdir -p "$WEB/www" "$WEB/tmp"
    web_www
    web_git
    web_npm
    web_pypi
    web_deb
    web_go
    chmod -R a+rX "$WEB"
    net_zone "www.stage.test 60 $WEB_ADDRESS" "git.stage.test 60 $WEB_ADDRESS" "npm.stage.test 60 $WEB_ADDRESS" \
        "pypi.stage.test 60 $WEB_ADDRESS" "deb.stage.test 60 $WEB_ADDRESS" "proxy.stage.test 60 $WEB_ADDRESS" \
        "elsewhere.stage.test 60 $WEB_ADDRESS" "api.www.stage.test 60 $WEB_ADDRESS"
    web_config >"$NET/nginx.conf"
    # Quoted, it would be one word.
    # shellcheck disable=SC2086
    setsid $NET_UNDER fcgiwrap -s "unix:$NET/fcgi.sock" </dev/null >"$NET/fcgi.log" 2>&1 3>&- &
    echo $! >"$NET/fcgi.pid"
    throwaway_wait 10 test -S "$NET/fcgi.sock"
    # shellcheck disable=SC2086
    setsid $NET_UNDER nginx -c "$NET/nginx.conf" -g 'daemon off;' </dev/null >"$NET/nginx.log" 2>&1 3>&- &
    echo $! >"$NET/nginx.pid"
    throwaway_wait 10 net_in curl --noproxy '*' -sf https://www.stage.test/hello ||
        { cat "$NET/nginx.log" "$NET/nginx.error"; return 1; }
}

# What reached a server since net_forget: address, port, Host, request line, status.
served()
{
    cat "$NET/served"
}

web_host()
{
    printf 'server { server_name %s.stage.test; listen 80; listen 443 ssl; listen 8443 ssl;\n%s\n}\n' "$1" "$2"
}

web_config()
{
    cat <<TEXT
user root;
worker_processes 1;
pid $NET/nginx.own;
error_log $NET/nginx.error;
events { worker_connections 4096; }
http {
    log_format stage '\$server_addr \$server_port \$host "\$request" \$status';
    access_log $NET/served stage;
    client_body_temp_path $WEB/tmp; proxy_temp_path $WEB/tmp; fastcgi_temp_path $WEB/tmp;
    uwsgi_temp_path $WEB/tmp; scgi_temp_path $WEB/tmp;
    client_max_body_size 0;
    default_type application/octet-stream;
    ssl_certificate $NET/tls.pem;
    ssl_certificate_key $NET/tls.key;
    server { listen 80 default_server; listen 443 ssl default_server; listen 8443 ssl default_server; return 200 'some server\n'; }
TEXT
    web_host www "root $WEB/www; location = /away { return 302 http://elsewhere.stage.test/hello; }
        location = /post { client_body_in_single_buffer on; proxy_pass http://127.0.0.1:81/; }"
    web_host api.www "root $WEB/www;"
    web_host elsewhere "root $WEB/www;"
    web_host npm "root $WEB/npm; types { application/octet-stream tgz; } default_type application/json;"
    web_host pypi "root $WEB/pypi; index index.html; types { text/html html; }"
    web_host deb "root $WEB/deb;"
    web_host proxy "root $WEB/go;"
    web_host git "location / { include /etc/nginx/fastcgi_params; fastcgi_pass unix:$NET/fcgi.sock;
        fastcgi_param SCRIPT_FILENAME /usr/lib/git-core/git-http-backend; fastcgi_param GIT_HTTP_EXPORT_ALL 1;
        fastcgi_param GIT_PROJECT_ROOT $WEB/git; fastcgi_param PATH_INFO \$uri; }"
    printf 'server { listen 127.0.0.1:81; access_log off; location / { return 200 "taken\\n"; } }\n}\n'
}

web_www()
{
    echo 'hello from the stage' >"$WEB/www/hello"
    head -c 8388608 /dev/zero >"$WEB/www/big"
}

web_git()
{
    mkdir "$WEB/git"
    make_repo "$WEB/git/source"
    git clone -q --bare "$WEB/git/source" "$WEB/git/project.git"
}

web_npm()
{
    local sum
    mkdir -p "$WEB/npm/make/package"
    printf '{"name":"stage-pack","version":"1.0.0","main":"index.js"}\n' >"$WEB/npm/make/package/package.json"
    printf 'module.exports = "stage-pack works";\n' >"$WEB/npm/make/package/index.js"
    tar -C "$WEB/npm/make" -czf "$WEB/npm/stage-pack-1.0.0.tgz" package
    sum=$(openssl dgst -sha512 -binary "$WEB/npm/stage-pack-1.0.0.tgz" | base64 -w0)
    cat >"$WEB/npm/stage-pack" <<TEXT
{"name":"stage-pack","dist-tags":{"latest":"1.0.0"},"versions":{"1.0.0":{"name":"stage-pack","version":"1.0.0",
 "dist":{"tarball":"https://npm.stage.test/stage-pack-1.0.0.tgz","integrity":"sha512-$sum"}}}}
TEXT
}

web_pypi()
{
    mkdir -p "$WEB/pypi/simple/stagepip"
    python3 - "$WEB/pypi/stagepip-1.0-py3-none-any.whl" <<'TEXT'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("stagepip.py", "word = 'stagepip works'\n")
    z.writestr("stagepip-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: stagepip\nVersion: 1.0\n")
    z.writestr("stagepip-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    z.writestr("stagepip-1.0.dist-info/RECORD", "stagepip.py,,\n")
TEXT
    printf '<!DOCTYPE html><html><body><a href="/stagepip-1.0-py3-none-any.whl">stagepip-1.0-py3-none-any.whl</a></body></html>\n' \
        >"$WEB/pypi/simple/stagepip/index.html"
}

web_deb()
{
    local file=stage-deb_1.0_all.deb
    mkdir -p "$WEB/deb/make/DEBIAN" "$WEB/deb/make/usr/share/stage"
    echo 'stage-deb works' >"$WEB/deb/make/usr/share/stage/word"
    printf 'Package: stage-deb\nVersion: 1.0\nArchitecture: all\nMaintainer: stage <stage@stage.test>\nDescription: one file\n' \
        >"$WEB/deb/make/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$WEB/deb/make" "$WEB/deb/$file" >/dev/null
    { dpkg-deb -f "$WEB/deb/$file"; printf 'Filename: %s\nSize: %s\nSHA256: %s\n' "$file" "$(stat -c %s "$WEB/deb/$file")" \
        "$(sha256sum "$WEB/deb/$file" | cut -d' ' -f1)"; } >"$WEB/deb/Packages"
}

web_go()
{
    local at="$WEB/go/example.com/stage/@v"
    mkdir -p "$at"
    echo v1.0.0 >"$at/list"
    printf '{"Version":"v1.0.0","Time":"2024-01-01T00:00:00Z"}\n' >"$at/v1.0.0.info"
    printf 'module example.com/stage\n' >"$at/v1.0.0.mod"
    python3 - "$at/v1.0.0.zip" <<'TEXT'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1], "w") as z:
    z.writestr("example.com/stage@v1.0.0/go.mod", "module example.com/stage\n")
    z.writestr("example.com/stage@v1.0.0/stage.go", "package stage\n\nconst Word = \"stage works\"\n")
TEXT
}
